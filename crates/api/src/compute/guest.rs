//! Actions inside a running guest: `changePassword` and `trigger_crash_dump`. The request waits for the guest's host.

use super::argument::arguments;
use crate::{ctx::Ctx, fault::Handled, limits::QUESTION_TIMEOUT, respond::empty};
use lenticular_control::command::compute::guest;
use lenticular_model::{
    ServerId,
    compute::operation::OperationKind,
    error::{Error, Result},
};
use lenticular_wire::{agent::Subject, request};
use serde::Deserialize;
use serde_json::Value;

/// The user whose password is changed if the server's image names no other (`os_admin_user`).
const ADMIN_USER: &str = "root";
/// The longest password, in characters.
const PASSWORD_MAX: usize = 255;

/// `changePassword` or `trigger_crash_dump`
pub(super) async fn act(ctx: Ctx, id: ServerId, name: &str, args: Value) -> Handled {
    let (what, subject) = match name {
        "changePassword" => {
            let user = ctx.state.servers.get(&id).and_then(|server| {
                server.image_properties.get("os_admin_user").filter(|user| !user.is_empty()).cloned()
            });
            let (user, password) = (user.unwrap_or_else(|| ADMIN_USER.to_owned()), new_password(args)?);
            (OperationKind::ChangePassword, Subject::SetPassword { server_id: id, user, password })
        }
        _ if !ctx.version.has(17) => {
            return Err(Error::not_found_text("The resource could not be found.").into());
        }
        _ => {
            if !args.is_null() {
                return Err(Error::invalid(
                    "Invalid input for field/attribute trigger_crash_dump. It must be null.",
                )
                .into());
            }
            (OperationKind::CrashDump, Subject::Interrupt { server_id: id })
        }
    };
    let host =
        ctx.commit("server guest check", move |txn, caller| guest::check(txn, caller, id, what)).await?;
    let why = format!("server {name}");
    // The rest runs even if the client goes away, so that what was done in the guest is recorded.
    let task = tokio::spawn(async move {
        let answer = ctx.app.links.ask(host, subject, QUESTION_TIMEOUT).await;
        let failure = answer.as_ref().err().map(ToString::to_string);
        let record = ctx.commit(&why, move |txn, caller| {
            guest::record(txn, caller, id, what, failure);
            Ok(())
        });
        record.await?;
        answer
    });
    task.await.map_err(Error::internal)??;
    empty(202)
}

fn new_password(args: Value) -> Result<String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        #[serde(rename = "adminPass")]
        password: String,
    }
    let asked: Asked = request::read(arguments("changePassword", args)?)?;
    request::check_text("adminPass", &asked.password, PASSWORD_MAX)?;
    // A line break would end the password in the guest's own tools.
    match asked.password.chars().any(char::is_control) {
        true => Err(Error::invalid(
            "Invalid input for field/attribute adminPass. It must have no control characters.",
        )),
        false => Ok(asked.password),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_password_is_one_line() {
        assert_eq!(new_password(json!({"adminPass": "s3cret"})).unwrap(), "s3cret");
        for bad in [
            json!(null),
            json!({}),
            json!({"adminPass": 7}),
            json!({"adminPass": "a\nroot:b"}),
            json!({"adminPass": "x".repeat(256)}),
        ] {
            assert!(new_password(bad.clone()).is_err(), "{bad}");
        }
    }
}
