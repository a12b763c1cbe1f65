//! The bytes of images: their files, and the check of their real format.

pub mod inspect;
pub mod store;

pub use store::ImageStore;
