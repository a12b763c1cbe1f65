//! Actions inside a running guest: `changePassword` and `trigger_crash_dump`. The request waits for the guest's host.

use super::argument::arguments;
use crate::{ctx::Ctx, fault::Handled, limits::QUESTION_TIMEOUT, respond::empty};
use lenticular_control::command::compute::guest::{self, GuestAction};
use lenticular_model::{
    Cause, ServerId, Txn,
    error::{Error, Result},
    policy::Caller,
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
            (GuestAction::ChangePassword, Subject::SetPassword { server_id: id, user, password })
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
            (GuestAction::CrashDump, Subject::Interrupt { server_id: id })
        }
    };
    let why = format!("server {name}");
    let begin = move |txn: &mut Txn<'_>, caller: &Caller| guest::begin(txn, caller, id, what);
    let (host, operation) = ctx.commit(&why, begin).await?;
    // The rest runs even if the client goes away.
    let cause = Cause { actor: ctx.caller.user_id.to_string(), request_id: ctx.journal_id(), why };
    let app = ctx.app.clone();
    let task = tokio::spawn(async move {
        let answer = app.links.ask(host, subject, QUESTION_TIMEOUT).await;
        let failure = answer.as_ref().err().map(ToString::to_string);
        let ended = app.store.transact(cause, move |txn| {
            guest::end(txn, operation, failure);
            Ok(())
        });
        // The guest's part is done whether or not its end can be recorded; the next leader ends the operation.
        if let Err(error) = ended.await {
            tracing::error!(server = %id, %error, "the end of an operation inside a guest could not be recorded");
        }
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
