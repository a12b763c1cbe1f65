//! Operations: begun with a request, ended when the host has done its part or cannot.

use lenticular_model::{
    Kind, OperationId, Txn,
    compute::{
        operation::{Operation, OperationKind, Outcome},
        server::{Server, Task},
    },
    policy::Caller,
};

/// Begins an operation on a server and returns the task that stands for it in the server's record.
pub fn begin(txn: &mut Txn<'_>, server: &Server, action: OperationKind, by: Option<&Caller>) -> Task {
    let id = OperationId::from_random(txn.random());
    txn.put(Operation {
        id,
        created_at: txn.now,
        updated_at: None,
        server_id: server.id,
        project_id: server.project_id,
        action,
        request_id: by.map(|c| c.request_id.clone()).unwrap_or_default(),
        user_id: by.map(|c| c.user_id),
        host_id: server.host_id,
        deadline: txn.now.plus_s(action.deadline_s()),
        outcome: None,
        unknown: Default::default(),
    });
    Task { action, operation_id: id }
}

/// Records an operation that the request itself completes.
pub fn note(txn: &mut Txn<'_>, server: &Server, action: OperationKind, by: &Caller) {
    let task = begin(txn, server, action, Some(by));
    finish(txn, task.operation_id, None);
}

/// Ends the operations inside guests that an earlier leader began: their answers went to it.
pub fn end_those_inside_guests(txn: &mut Txn<'_>) {
    let inside = |operation: &Operation| {
        matches!(operation.action, OperationKind::ChangePassword | OperationKind::CrashDump)
    };
    let open: Vec<OperationId> =
        txn.operations.values().filter(|operation| inside(operation)).map(|operation| operation.id).collect();
    for id in open {
        let why = "The control plane was restarted meanwhile, so nobody knows whether the guest did it.";
        finish(txn, id, Some(why.to_owned()));
    }
}

/// Ends an operation: it leaves State and stays in the store.
pub fn finish(txn: &mut Txn<'_>, id: OperationId, failure: Option<String>) {
    let Some(operation) = txn.delete::<Operation>(&id) else { return };
    let mut operation = Operation::clone(&operation);
    operation.updated_at = Some(txn.now);
    operation.outcome = Some(Outcome { at: txn.now, failure });
    let key = operation.past_key();
    txn.put_cold(Kind::PastOperation, key, operation);
}

/// Ends the operation that waited for the guest to run or stop, if any. Returns the task that stays: a snapshot.
pub fn finish_run_task(txn: &mut Txn<'_>, server: &Server, failure: Option<String>) -> Option<Task> {
    match server.run_task() {
        Some(task) => {
            finish(txn, task.operation_id, failure);
            None
        }
        None => server.task.clone(),
    }
}

/// Ends the operation under way on a server, if any. The server's record keeps its task.
pub fn finish_task(txn: &mut Txn<'_>, server: &Server, failure: Option<String>) {
    if let Some(task) = &server.task {
        finish(txn, task.operation_id, failure);
    }
}
