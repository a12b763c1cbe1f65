//! Flavors: their creation, change, access and removal.

use lenticular_model::{
    FlavorId, ProjectId, Scoped, Txn,
    compute::flavor::{Flavor, Size},
    error::{Error, Result},
    policy::{self, Action, Caller},
};
use std::{collections::BTreeMap, sync::Arc};

/// The settings of a new flavor.
#[derive(Debug, Clone)]
pub struct NewFlavor {
    /// Its id; random if `None`.
    pub id: Option<FlavorId>,
    /// Its name.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// The resources of its servers.
    pub size: Size,
    /// Whether every project sees it.
    pub is_public: bool,
    /// Kept for the API; has no effect.
    pub rxtx_factor: f64,
}

/// Creates a flavor.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewFlavor) -> Result<FlavorId> {
    policy::check(caller, Action::FlavorWrite, None)?;
    let id = match new.id {
        Some(id) => id,
        None => uuid_text(txn.random()).as_str().into(),
    };
    if txn.flavors.contains_key(&id) {
        return Err(Error::conflict(format!("Flavor with ID {id} already exists.")));
    }
    if txn.flavor_named(&new.name).is_some() {
        return Err(Error::conflict(format!("Flavor with name {} already exists.", new.name)));
    }
    txn.put(Flavor {
        id: id.clone(),
        created_at: txn.now,
        updated_at: None,
        name: new.name,
        description: new.description,
        size: new.size,
        is_public: new.is_public,
        access: Vec::new(),
        rxtx_factor: new.rxtx_factor,
        extra_specs: Arc::default(),
        unknown: Default::default(),
    });
    Ok(id)
}

fn uuid_text(bytes: [u8; 16]) -> String {
    lenticular_model::ServerId::from_random(bytes).to_string()
}

/// Changes the fields of a flavor that do not affect its servers.
pub fn edit(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: &FlavorId,
    edit: impl FnOnce(&mut Flavor) -> Result<()>,
) -> Result<()> {
    policy::check(caller, Action::FlavorWrite, None)?;
    let mut flavor = Flavor::clone(&*txn.need::<Flavor>(id, || Flavor::missing(id))?);
    edit(&mut flavor)?;
    flavor.updated_at = Some(txn.now);
    txn.put(flavor);
    Ok(())
}

/// Changes a flavor's extra specs.
pub fn edit_specs(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: &FlavorId,
    edit_map: impl FnOnce(&mut BTreeMap<String, String>) -> Result<()>,
) -> Result<()> {
    edit(txn, caller, id, |flavor| edit_map(Arc::make_mut(&mut flavor.extra_specs)))
}

/// Gives a project access to a flavor that is not public, or takes the access away.
pub fn set_access(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: &FlavorId,
    project: ProjectId,
    given: bool,
) -> Result<()> {
    policy::check(caller, Action::FlavorAccess, None)?;
    edit(txn, caller, id, |flavor| {
        let has = flavor.access.contains(&project);
        match (given, has) {
            _ if flavor.is_public => Err(Error::conflict("Can not add access to a public flavor.")),
            (true, true) => Err(Error::conflict(format!(
                "Flavor access already exists for flavor {id} and project {project} combination."
            ))),
            (false, false) => Err(Error::not_found_text(format!(
                "Flavor access not found for {id} / {project} combination."
            ))),
            (true, false) => {
                flavor.access.push(project);
                Ok(())
            }
            (false, true) => {
                flavor.access.retain(|p| *p != project);
                Ok(())
            }
        }
    })
}

/// Removes a flavor; servers with this flavor keep their size.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: &FlavorId) -> Result<()> {
    policy::check(caller, Action::FlavorWrite, None)?;
    txn.delete::<Flavor>(id).map(|_| ()).ok_or_else(|| Flavor::missing(id))
}
