//! The trusts of a trustor and of a trustee.

use crate::{UserId, identity::Trust, relation::relations};

relations! {
    /// The trusts in which a user lets others act.
    fn trusts_of_trustor(UserId) -> Trust = trustor_trusts;
    /// The trusts in which a user may act for others.
    fn trusts_of_trustee(UserId) -> Trust = trustee_trusts;
}
