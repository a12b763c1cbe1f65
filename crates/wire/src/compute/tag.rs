//! Tags: of servers, and of devices.

use lenticular_model::error::{Error, Result};

/// Refuses tags that Nova would refuse.
pub fn check_tag(tag: &str) -> Result<()> {
    if tag.is_empty() || tag.chars().count() > 60 || tag.contains(['/', ',']) {
        return Err(Error::invalid(format!(
            "Invalid input for field/attribute tags. Value: {tag:?}. A tag has 1 to 60 characters and neither '/' nor ','."
        )));
    }
    Ok(())
}
