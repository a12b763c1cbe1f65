//! Random transactions, failures and reopenings, compared with a plain map that does the same.

use crate::backend::{Backend, description, dump, reopen, role, role_id, transact, writer};
use lenticular_model::{Error, Kind, State, identity::Role};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Change {
    Put(u8, u16),
    Update(u8, u16),
    Delete(u8),
    PutCold(u8, u16),
    DeleteCold(u8),
}

#[derive(Debug, Clone)]
enum Step {
    /// A transaction; `false` returns an error after its changes.
    Transact(Vec<Change>, bool),
    FailCommit(Vec<Change>),
    Reopen,
    Crash,
}

type Model = BTreeMap<(Kind, u8), String>;

pub fn run(fresh: &dyn Fn() -> Box<dyn Backend>, cases: u32) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&prop::collection::vec(step(), 1..30), |steps| {
        replay(&*fresh(), &steps);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn step() -> impl Strategy<Value = Step> {
    let changes = || prop::collection::vec(change(), 0..5);
    prop_oneof![
        12 => (changes(), prop::bool::weighted(0.8)).prop_map(|(changes, is_ok)| Step::Transact(changes, is_ok)),
        1 => changes().prop_map(Step::FailCommit),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let number = 0..6_u8;
    prop_oneof![
        (number.clone(), any::<u16>()).prop_map(|(number, text)| Change::Put(number, text)),
        (number.clone(), any::<u16>()).prop_map(|(number, text)| Change::Update(number, text)),
        number.clone().prop_map(Change::Delete),
        (number.clone(), any::<u16>()).prop_map(|(number, text)| Change::PutCold(number, text)),
        number.prop_map(Change::DeleteCold),
    ]
}

fn replay(backend: &dyn Backend, steps: &[Step]) {
    let mut subject = writer(backend);
    let mut model = Model::new();
    // The model after each time, for `record_at`.
    let mut past = vec![model.clone()];
    for step in steps {
        let at = i64::try_from(past.len()).unwrap();
        match step {
            Step::Transact(changes, is_ok) => {
                let result = transact(&mut subject, at, "step", |txn| {
                    changes.iter().for_each(|change| apply(txn, change));
                    if *is_ok { Ok(()) } else { Err(Error::conflict("no")) }
                });
                assert_eq!(result.is_ok(), *is_ok);
                if *is_ok {
                    changes.iter().for_each(|change| apply_to_model(&mut model, change));
                }
            }
            Step::FailCommit(changes) if !changes.is_empty() => {
                backend.refuse_commits();
                // An empty change needs no commit, so a second change that surely has an effect goes along.
                let result = transact(&mut subject, at, "step", |txn| {
                    changes.iter().for_each(|change| apply(txn, change));
                    txn.put_cold(Kind::UserData, "never", 1);
                    Ok(())
                });
                backend.mend();
                assert!(result.is_err());
            }
            Step::FailCommit(_) => {}
            Step::Reopen => {
                let published = dump(subject.state());
                subject = reopen(backend, subject);
                assert_eq!(dump(subject.state()), published);
            }
            Step::Crash => {
                let published = dump(subject.state());
                drop(subject);
                subject = writer(backend);
                assert_eq!(dump(subject.state()), published);
            }
        }
        past.push(model.clone());
        assert_eq!(of_state(subject.state()), of_kind(&model, Kind::Role));
    }
    check_store(&subject, &past);
}

/// Compares the store's whole content, now and at every earlier time.
fn check_store(subject: &lenticular_store::Writer, past: &[Model]) {
    let reader = subject.reader();
    for kind in [Kind::Role, Kind::UserData] {
        for number in 0..6 {
            let id = id_of(kind, number);
            for (at, model) in past.iter().enumerate() {
                let at = lenticular_model::Timestamp(i64::try_from(at).unwrap());
                let found = reader.record_at(kind, &id, at).unwrap().map(|doc| text_of(kind, &doc));
                assert_eq!(found.as_ref(), model.get(&(kind, number)), "{kind:?} {number} at {at:?}");
            }
            let now = reader.get(kind, &id).unwrap().map(|doc| text_of(kind, &doc));
            assert_eq!(now.as_ref(), past[past.len() - 1].get(&(kind, number)));
        }
    }
}

fn apply(txn: &mut lenticular_model::Txn<'_>, change: &Change) {
    match change {
        Change::Put(number, text) => txn.put(role(*number, &text.to_string())),
        Change::Update(number, text) => {
            txn.update::<Role>(&role_id(*number), |role| role.description = Some(text.to_string()));
        }
        Change::Delete(number) => {
            txn.delete::<Role>(&role_id(*number));
        }
        Change::PutCold(number, text) => txn.put_cold(Kind::UserData, number.to_string(), text.to_string()),
        Change::DeleteCold(number) => txn.delete_cold(Kind::UserData, number.to_string()),
    }
}

fn apply_to_model(model: &mut Model, change: &Change) {
    match change {
        Change::Put(number, text) => {
            model.insert((Kind::Role, *number), text.to_string());
        }
        Change::Update(number, text) => {
            if let Some(old) = model.get_mut(&(Kind::Role, *number)) {
                *old = text.to_string();
            }
        }
        Change::Delete(number) => {
            model.remove(&(Kind::Role, *number));
        }
        Change::PutCold(number, text) => {
            model.insert((Kind::UserData, *number), text.to_string());
        }
        Change::DeleteCold(number) => {
            model.remove(&(Kind::UserData, *number));
        }
    }
}

fn of_state(state: &State) -> BTreeMap<u8, String> {
    (0..6).filter_map(|number| Some((number, description(state, number)?))).collect()
}

fn of_kind(model: &Model, kind: Kind) -> BTreeMap<u8, String> {
    model.iter().filter(|((k, _), _)| *k == kind).map(|((_, number), text)| (*number, text.clone())).collect()
}

fn id_of(kind: Kind, number: u8) -> String {
    if kind == Kind::Role { role_id(number).to_string() } else { number.to_string() }
}

fn text_of(kind: Kind, doc: &str) -> String {
    match kind {
        Kind::Role => serde_json::from_str::<Role>(doc).unwrap().description.unwrap(),
        _ => serde_json::from_str(doc).unwrap(),
    }
}
