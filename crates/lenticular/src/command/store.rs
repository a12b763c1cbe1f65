//! `lenticular store`: an operator's declarations about the store.

use crate::{clock, data::DataDir};
use anyhow::{Context, Result};
use clap::Subcommand;
use lenticular_control::lifecycle::restore;
use lenticular_model::{Cause, Incarnation};
use lenticular_store::{Engine, Postgres, Sqlite, Writer};
use std::{io::Write, path::Path};

/// The declarations.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Declares that the store was restored from a backup. Run it before the control plane starts. Then nothing
    /// is started, moved or removed until the hosts have reported their guests.
    Restored {
        /// A PostgreSQL connection string, in place of the SQLite file in the data directory.
        #[arg(long)]
        store: Option<String>,
    },
}

/// Carries the command out.
///
/// # Errors
/// There is no store, a control plane has it open, or it takes no commits.
pub(crate) fn run(data: &Path, command: &StoreCommand, out: &mut impl Write) -> Result<()> {
    let StoreCommand::Restored { store } = command;
    let data = DataDir::open(data)?;
    let engine: Box<dyn Engine> = match store {
        Some(config) => Box::new(Postgres::open(config)?),
        None => {
            let path = data.path("store.db");
            anyhow::ensure!(path.exists(), "there is no store in {}", path.display());
            Box::new(Sqlite::open(&path)?)
        }
    };
    let mut entropy = clock::entropy();
    let mut writer = Writer::open(engine, clock::now(), Incarnation::from_random(entropy()))?;
    let why = "restored from a backup".to_owned();
    let cause = Cause { actor: "lenticular".to_owned(), request_id: String::new(), why };
    let begun = writer.transact(clock::now(), &mut entropy, cause, |txn| {
        restore::begin(txn);
        Ok((txn.servers.len(), txn.hosts.len()))
    });
    let ((servers, hosts), _) = begun.context("the store takes no commits")?;
    let seq = writer.state().seq;
    writer.new_incarnation(Incarnation::from_random(entropy()))?;
    writer.close()?;
    writeln!(
        out,
        "The store begins a new life after commit {seq}. Start the control plane: the {servers} servers in it wait until \
         its {hosts} hosts have said what they have."
    )?;
    Ok(())
}
