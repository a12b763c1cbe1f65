//! Keystone's nouns: projects, users, roles and tokens.

pub mod domain;
pub mod grant;
pub mod project;
pub mod role;
pub mod token;
pub mod user;

pub use domain::Domain;
pub use grant::{RoleAssignment, Target};
pub use project::Project;
pub use role::Role;
pub use token::Revocation;
pub use user::User;
