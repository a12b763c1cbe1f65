//! What the rows of generated clouds promise.
