//! Judges by the truth what the host deleted or overwrote.

use std::collections::BTreeMap;

use super::{State, is_account, is_ours};
use crate::world::{EntityKey, Kind, Standing};

impl State {
    /// Others write an entity now.
    pub fn touch(&mut self, key: EntityKey) {
        self.order += 1;
        self.touched_at.insert(key.clone(), self.order);
        self.touched.insert(key);
    }

    /// The host looks at entities of a blueprint now.
    pub(super) fn looked_at(&mut self, blueprint: &str) {
        self.order += 1;
        self.looked_at.insert(blueprint.to_owned(), self.order);
    }

    /// Judges what a deletion took away.
    pub(super) fn judge(&mut self, gone: &EntityKey, writer: &str, has_ledger: bool) {
        let name = format!("{}/{}", gone.0, gone.1);
        if !is_ours(writer) {
            let looked = self.looked_at.get(&gone.0);
            if looked.is_some() && self.touched_at.get(gone) > looked {
                // They wrote it between the host's look and its deletion.
                self.count("races: others write while the host deletes");
                self.foreign.remove(gone);
                return;
            }
            self.violation(format!("an entity of somebody else is deleted: {name} of {writer}"));
        }
        match self.world.standing(gone) {
            Standing::Live => self.violation(format!("the entity of a live resource is deleted: {name}")),
            // A subnet's entity neither states its region nor names it in an ARN: without a record nobody knows it.
            Standing::RegionOff
                if (!has_ledger || self.lost_records) && gone.0.starts_with(Kind::Subnet.blueprint()) =>
            {
                self.count("deletions: of a region, without a record");
            }
            // Without a record, the account's own entity says that the account was read once: somebody took it over.
            Standing::AccountGone(..)
                if (!has_ledger || self.lost_records)
                    && gone.0.starts_with(Kind::Subnet.blueprint())
                    && self.foreign.keys().any(is_account) =>
            {
                self.count("deletions: of an account, without a record");
            }
            standing => {
                // An account that no host ever read has produced nothing.
                let since =
                    |account: &usize| self.unlisted.get(account).filter(|_| self.read.contains(account));
                let since = match standing {
                    Standing::AccountGone(owner, shared) => {
                        [Some(owner), shared].iter().flatten().filter_map(since).max().copied()
                    }
                    Standing::RegionOff => Some(self.narrowed),
                    Standing::Live | Standing::Stale => None,
                };
                if since.is_some_and(|since| !has_ledger || since >= self.process) {
                    self.violation(format!(
                        "an entity is deleted as soon as its account or region is not read any more: {name}"
                    ));
                } else {
                    self.count("deletions");
                }
            }
        }
    }

    /// Notes what the integration has written over.
    pub(super) fn judge_writes(&mut self, writers: &BTreeMap<EntityKey, String>) {
        let taken: Vec<EntityKey> = self
            .foreign
            .keys()
            .filter(|key| writers.get(*key).is_some_and(|writer| is_ours(writer)))
            .cloned()
            .collect();
        for key in taken {
            self.foreign.remove(&key);
            if self.touched.contains(&key) {
                // They wrote it between the host's look and its write.
                self.count("races: others write while the host does");
            } else {
                self.violation(format!("an entity of somebody else is written over: {}/{}", key.0, key.1));
            }
        }
    }
}
