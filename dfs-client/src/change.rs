//! A change of the tree made here, followed to its end (PROTOCOL 2.7, 3.2, 3.3).

use crate::client::Client;
use crate::interrupt;
use crate::metadata::Key;
use crate::rpc::{Call, Order};
use crate::waiting;
use dfs_core::access::Credentials;
use dfs_core::{Code, FsError, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// An answer that took longer counts as a wait for something that may never come; so does any wait
/// while the server does not answer.
const PATIENT: Duration = Duration::from_secs(2);

/// The keys that a running change touches: nothing is answered about them while this lives.
struct Running {
    client: Arc<Client>,
    touched: Vec<Key>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.client.metadata.end_change(&self.touched);
    }
}

/// See [`Client::change`].
///
/// The change is a task of its own, for the caller may be interrupted: the server tells us
/// nothing of changes that are our own, so somebody must be there to hear the answer.
pub(crate) async fn run<Q: Call>(
    client: &Arc<Client>,
    who: &Credentials,
    touched: Vec<Key>,
    (request, order): (Q, Order),
    apply: impl FnOnce(&Client, &Q::Reply) -> Result<()> + Send + 'static,
) -> Result<Q::Reply> {
    client.session.gate().await?;
    client.metadata.begin_change(&touched);
    let running = Running { client: Arc::clone(client), touched };
    let (who, patient_until) = (who.clone(), Instant::now() + PATIENT);
    let mut task = waiting::begin(&client.runtime, async move {
        let client = &running.client;
        if !Q::VERB.tells_itself() {
            client.tell_all().await;
        }
        if Q::VERB.removes() {
            client.deferrals.forget_told();
        }
        let outcome = client.rpc.call_ahead(&who, request, order).await;
        let outcome = outcome.and_then(|reply| apply(client, &reply).map(|()| reply));
        if let Err(error) = &outcome {
            settle(client, &running.touched, error);
        }
        outcome
    });
    let patience = async {
        tokio::select! {
            () = sleep_until(patient_until) => {}
            () = client.rpc.silence() => {}
        }
    };
    let joined = tokio::select! {
        biased;
        joined = &mut task => joined,
        () = patience => interrupt::wait(task).await?,
    };
    joined.unwrap_or_else(|e| Err(FsError::new(Code::Io, format!("a change did not end: {e}"))))
}

/// A change failed. A plain refusal changed nothing; but should the refusal contradict what is known
/// here, the next question goes to the server. After any other failure the change may have happened.
fn settle(client: &Client, touched: &[Key], error: &FsError) {
    client.metadata.forget(touched);
    if matches!(error.code, Code::Io | Code::Unavailable | Code::SessionExpired) {
        client.tell_kernel(touched);
    }
}
