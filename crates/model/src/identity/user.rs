//! Users, who log in.

use crate::{DomainId, ProjectId, Timestamp, UserId, record};
use std::collections::BTreeMap;

record! {
    /// A user.
    pub struct User: UserId {
        /// Its domain.
        pub domain_id: DomainId,
        /// Unique in its domain.
        pub name: String,
        /// An argon2id hash in PHC form; `None` cannot log in by password.
        #[serde(default)]
        pub password_hash: Option<String>,
        /// Hashes of earlier passwords, the newest first, as many as the operator wants to be unlike a new one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past_password_hashes: Vec<String>,
    /// Since when the password holds; tokens issued earlier are void.
        #[serde(default)]
        pub password_changed_at: Timestamp,
        /// False shuts the user out.
        pub enabled: bool,
        /// The project of a token without a scope.
        #[serde(default)]
        pub default_project_id: Option<ProjectId>,
        /// Attributes that the user's creator chose (`email`, `description`), shown back as they came.
        #[serde(default)]
        pub extra: BTreeMap<String, serde_json::Value>,
    }
}

impl User {
    /// Sets a new password. `unique` is how many of the last passwords the next one must differ from.
    pub fn set_password(&mut self, hash: String, now: Timestamp, unique: usize) {
        let old = self.password_hash.replace(hash);
        self.past_password_hashes.splice(0..0, old);
        // The new password itself is known without this list.
        self.past_password_hashes.truncate(unique.saturating_sub(1));
        self.password_changed_at = now;
    }

    /// The hashes of the passwords that a new one must differ from.
    pub fn hashes_to_avoid(&self, unique: usize) -> impl Iterator<Item = &String> {
        self.password_hash.iter().chain(&self.past_password_hashes).take(unique)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_passwords_are_remembered_as_must_differ() {
        let mut user = User {
            id: UserId::from_random([1; 16]),
            created_at: Timestamp(1),
            updated_at: None,
            domain_id: "default".into(),
            name: "ada".to_owned(),
            password_hash: Some("0".to_owned()),
            past_password_hashes: Vec::new(),
            password_changed_at: Timestamp(1),
            enabled: true,
            default_project_id: None,
            extra: Default::default(),
            unknown: Default::default(),
        };
        let avoided = |user: &User, unique| user.hashes_to_avoid(unique).cloned().collect::<Vec<_>>();
        for n in 1..5 {
            user.set_password(n.to_string(), Timestamp(n), 2);
        }
        assert_eq!(avoided(&user, 2), ["4", "3"]);
        assert_eq!(avoided(&user, 0), Vec::<String>::new());
        user.set_password("5".to_owned(), Timestamp(5), 0);
        assert!(user.past_password_hashes.is_empty());
        assert_eq!(avoided(&user, 2), ["5"]);
    }
}
