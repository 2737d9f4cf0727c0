//! The last change of each file that was sent and is not answered yet: the next one follows it
//! (`docs/design/0039`).

use crate::rpc::Sent;
use dfs_core::Ino;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Steps(Mutex<HashMap<Ino, Step>>);

/// A change that is under way. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    sent: Sent,
    over: watch::Receiver<()>,
}

/// The same, until this is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay {
    all: Arc<Steps>,
    of: Ino,
    over: watch::Sender<()>,
}

impl Steps {
    fn last_of(&self) -> MutexGuard<'_, HashMap<Ino, Step>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change of a file begins, which is `sent` or not.
    pub(crate) fn begin(self: &Arc<Self>, of: Ino, sent: Sent) -> UnderWay {
        let (tell, over) = watch::channel(());
        self.last_of().insert(of, Step { sent, over });
        UnderWay { all: Arc::clone(self), of, over: tell }
    }

    /// The last one of a file that is not over.
    pub(crate) fn last(&self, of: Ino) -> Option<Step> {
        self.last_of().get(&of).cloned()
    }
}

impl Step {
    /// What was sent, if it was.
    pub(crate) fn sent(&self) -> &Sent {
        &self.sent
    }

    /// Returns when it is answered, whatever the answer is.
    pub(crate) async fn over(mut self) {
        // Nothing is ever said; the end of who could is what counts.
        while self.over.changed().await.is_ok() {}
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut last = self.all.last_of();
        if last.get(&self.of).is_some_and(|step| step.over.same_channel(&self.over.subscribe())) {
            last.remove(&self.of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::removals::tests::is_ready;

    #[tokio::test]
    async fn step_is_the_last_one_of_its_file_until_it_is_over() {
        let (all, file) = (Arc::new(Steps::default()), Ino(5));
        assert!(all.last(file).is_none());
        let first = all.begin(file, Sent::default());
        let of_first = all.last(file).unwrap();
        let second = all.begin(file, Sent::default());
        assert!(!is_ready(of_first.clone().over()).await);
        drop(first);
        assert!(is_ready(of_first.over()).await);
        let of_second = all.last(file).expect("the end of an earlier one does not end it");
        assert!(!is_ready(of_second.clone().over()).await && all.last(Ino(6)).is_none());
        drop(second);
        assert!(is_ready(of_second.over()).await && all.last(file).is_none());
    }
}
