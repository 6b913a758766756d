//! The snapshot of the moment: how it is changed from several sides, and how a review waits for a namespace to be in it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use hashbrown::HashMap;
use tokio::sync::Notify;

use crate::snapshot::Snapshot;

/// The snapshot of the moment. Reading it takes no lock.
pub struct Current {
    snapshot: ArcSwap<Snapshot>,
    /// Held while one snapshot is made of another: policies and namespaces come from different tasks.
    writing: Mutex<()>,
    /// Reviews that wait, by namespace. Locked by them and by whoever publishes, for a few lines each.
    waiting: Mutex<Waiting>,
}

type Waiting = HashMap<String, Waiters>;

/// Reviews that wait for one namespace.
#[derive(Default)]
struct Waiters {
    count: usize,
    known: Arc<Notify>,
}

impl Current {
    /// Begins with this one.
    pub fn new(snapshot: Snapshot) -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            writing: Mutex::default(),
            waiting: Mutex::default(),
        }
    }

    /// The snapshot of the moment.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Publishes a changed snapshot, and wakes the reviews that wait for a namespace in it. Gives back the last one, so that the
    /// caller, and not the last review that uses it, can take it apart.
    pub fn update(&self, change: impl FnOnce(&mut Snapshot)) -> Arc<Snapshot> {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Snapshot::clone(&self.snapshot.load());
        change(&mut next);
        let next = Arc::new(next);
        let last = self.snapshot.swap(next.clone());
        drop(writing);
        self.waiting().retain(|namespace, waiters| {
            let unknown = next.namespace_labels(namespace).is_none();
            if !unknown {
                waiters.known.notify_waiters();
            }
            unknown
        });
        last
    }

    /// Resolves when the namespace is known, which may be never. Dropping it leaves nothing behind.
    pub async fn known(&self, namespace: &str) {
        let waiter = Waiter::enlist(self, namespace);
        let known = waiter.known.notified();
        // Only now: a publication before this moment did not know of us.
        if self.load().namespace_labels(namespace).is_none() {
            known.await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One review that waits.
struct Waiter<'c> {
    current: &'c Current,
    namespace: &'c str,
    known: Arc<Notify>,
}

impl<'c> Waiter<'c> {
    fn enlist(current: &'c Current, namespace: &'c str) -> Self {
        let mut waiting = current.waiting();
        let waiters = waiting.entry_ref(namespace).or_default();
        waiters.count += 1;
        Self {
            current,
            namespace,
            known: waiters.known.clone(),
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiting = self.current.waiting();
        let Some(waiters) = waiting.get_mut(self.namespace) else {
            return;
        };
        // Those that were woken are off the list, and others may be on it under the same name by now.
        if Arc::ptr_eq(&waiters.known, &self.known) {
            waiters.count -= 1;
            if waiters.count == 0 {
                waiting.remove(self.namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, time::Duration};

    use futures_util::{FutureExt, future::join_all};
    use tokio::time::timeout;

    use super::*;
    use crate::snapshot::Namespaces;

    fn watched() -> Current {
        let current = Current::new(Snapshot::empty());
        current.update(|snapshot| snapshot.namespaces = Namespaces::watched());
        current
    }

    fn publish(current: &Current, namespace: &str) {
        current.update(|snapshot| {
            snapshot.namespaces.insert(namespace, []);
        });
    }

    #[tokio::test]
    async fn a_namespace_that_is_known_or_that_nobody_watches_is_not_waited_for() {
        Current::new(Snapshot::empty()).known("any").now_or_never().unwrap();
        let current = watched();
        publish(&current, "a");
        current.known("a").now_or_never().unwrap();
        assert!(current.known("b").now_or_never().is_none());
        assert!(current.waiting().is_empty());
    }

    #[tokio::test]
    async fn thousands_that_wait_are_woken_by_the_publication_of_theirs_and_by_no_other() {
        let current = watched();
        let names: Vec<_> = (0..2_000).map(|number| format!("n-{}", number % 1_000)).collect();
        let mut all = pin!(join_all(names.iter().map(|name| current.known(name))));
        assert!(all.as_mut().now_or_never().is_none());
        assert_eq!(current.waiting().len(), 1_000);
        publish(&current, "another");
        assert_eq!(current.waiting().len(), 1_000);
        for number in 0..1_000 {
            assert!(all.as_mut().now_or_never().is_none());
            publish(&current, &format!("n-{number}"));
        }
        all.as_mut().now_or_never().expect("all are woken");
        assert!(current.waiting().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_nothing_behind_and_does_not_take_others_along() {
        let current = watched();
        let mut patient = pin!(current.known("a"));
        assert!(patient.as_mut().now_or_never().is_none());
        timeout(Duration::from_millis(250), current.known("a"))
            .await
            .unwrap_err();
        assert_eq!(current.waiting().len(), 1);
        publish(&current, "a");
        patient.as_mut().now_or_never().unwrap();
        // Gone, and waited for once more.
        current.update(|snapshot| {
            snapshot.namespaces.remove("a");
        });
        timeout(Duration::from_millis(250), current.known("a"))
            .await
            .unwrap_err();
        assert!(current.waiting().is_empty());
    }

    #[test]
    fn changes_from_two_sides_do_not_undo_each_other() {
        let current = watched();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..1_000).for_each(|number| publish(&current, &format!("n-{number}"))));
            scope.spawn(|| (0..1_000).for_each(|_| drop(current.update(|snapshot| snapshot.generation += 1))));
        });
        let end = current.load();
        assert_eq!((end.namespaces.len(), end.generation), (1_000, 1_000));
    }
}
