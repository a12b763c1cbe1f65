//! The arguments of a server's action.

use lenticular_model::error::{Error, Result};
use serde_json::{Map, Value};

/// The arguments of an action. An action without required arguments may be sent without any.
///
/// Actions without arguments, such as start and stop, accept any value: Nova's schemas do, and clients send null,
/// an empty object or an empty text.
pub(super) fn arguments(action: &str, args: Value) -> Result<Map<String, Value>> {
    match args {
        Value::Null => Ok(Map::new()),
        Value::Object(fields) => Ok(fields),
        _ => {
            Err(Error::invalid(format!("Invalid input for field/attribute {action}. It must be an object.")))
        }
    }
}
