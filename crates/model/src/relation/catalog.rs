//! The endpoints of the catalog's services.

use crate::{ServiceId, identity::Endpoint, relation::relations};

relations! {
    /// The endpoints of a service.
    fn endpoints_of_service(ServiceId) -> Endpoint = service_endpoints;
}
