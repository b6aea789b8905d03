//! Whether a service can do its work yet, and what it lacks.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

/// Named checks that a service sets, all false at first. Clones share them.
#[derive(Debug, Clone)]
pub struct Readiness {
    checks: Arc<watch::Sender<BTreeMap<&'static str, bool>>>,
}

/// One named check and how it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is checked, such as `store`.
    pub name: &'static str,
    /// Whether it is well.
    pub ok: bool,
}

impl Readiness {
    /// Ready when all of `names` have been set.
    #[must_use]
    pub fn new(names: &[&'static str]) -> Self {
        let checks = names.iter().map(|name| (*name, false)).collect();
        Self {
            checks: Arc::new(watch::Sender::new(checks)),
        }
    }

    /// Says how one check stands; a new name is a new check.
    pub fn set(&self, name: &'static str, ok: bool) {
        self.checks
            .send_if_modified(|checks| checks.insert(name, ok) != Some(ok));
    }

    /// All checks, by name.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        let checks = self.checks.borrow();
        checks
            .iter()
            .map(|(&name, &ok)| Check { name, ok })
            .collect()
    }

    /// The names of those that fail.
    #[must_use]
    pub fn failing(&self) -> Vec<&'static str> {
        let failing = self.checks().into_iter().filter(|check| !check.ok);
        failing.map(|check| check.name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_not_ready_before_it_says_so() {
        let readiness = Readiness::new(&["store", "queue"]);
        assert_eq!(readiness.failing(), ["queue", "store"]);
        let setter = readiness.clone();
        setter.set("store", true);
        assert_eq!(readiness.failing(), ["queue"]);
        readiness.set("queue", true);
        setter.set("store", false);
        assert_eq!(readiness.failing(), ["store"]);
    }
}
