//! Keystone's commands: one file for each noun, and the files that those commands share.

pub mod access_rule;
pub mod application_credential;
pub mod catalog;
pub mod domain;
pub mod grant;
pub mod group;
pub mod project;
pub mod purge;
pub mod role;
pub mod token;
pub mod trust;
pub mod user;

// Code that commands share. These files import no command.
mod cascade;
pub mod delegation;
pub mod govern;
pub mod thing;
