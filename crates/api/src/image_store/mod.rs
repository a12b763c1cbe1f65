//! The bytes of images: files, and what they are by their own headers.

pub mod inspect;
pub mod store;

pub use store::ImageStore;
