//! Listing a directory: a stream of pages that survives a broken connection.

use super::backoff::Attempts;
use super::{Rpc, Verb};
use crate::interrupt;
use dfs_core::access::Credentials;
use dfs_core::{Code, FsError, Ino, Result};
use dfs_proto::call::Reply;
use dfs_proto::{status, v1};
use std::time::Duration;
use tokio::time::timeout;

/// A page that does not come for so long is asked for again.
const PAGE: Duration = Duration::from_secs(10);

/// Pages of a listing, in order. Dropping it ends the stream at the server.
pub struct Pages {
    rpc: Rpc,
    who: Credentials,
    dir: Ino,
    want_attrs: bool,
    /// The last cookie received.
    cookie: u64,
    stream: Option<tonic::Streaming<v1::ReadDirRep>>,
    ended: bool,
}

impl Rpc {
    /// Lists `dir` from behind `cookie` (0: from the start). Nothing is sent before the first page
    /// is asked for.
    pub fn read_dir(&self, who: &Credentials, dir: Ino, cookie: u64, want_attrs: bool) -> Pages {
        Pages {
            rpc: self.clone(),
            who: who.clone(),
            dir,
            want_attrs,
            cookie,
            stream: None,
            ended: false,
        }
    }
}

impl Pages {
    /// The next page; none after the last. After an error the next call tries the same page again.
    pub async fn next(&mut self) -> Result<Option<v1::ReadDirRep>> {
        if self.ended {
            return Ok(None);
        }
        let rpc = self.rpc.clone();
        let mut attempts = Attempts::new(&rpc);
        loop {
            let identity = attempts.ready().await?;
            match self.page().await? {
                Ok(page) => {
                    self.ended = page.end;
                    if let Some(last) = page.entries.last() {
                        self.cookie = last.cookie;
                    }
                    return Ok(Some(page));
                }
                Err(failure) => {
                    self.stream = None;
                    attempts.again(identity.sid, failure).await?;
                }
            }
        }
    }

    async fn page(&mut self) -> Result<Result<v1::ReadDirRep, FsError>> {
        let late = || FsError::new(Code::Unavailable, "no page of a listing in time");
        if self.stream.is_none() {
            let identity = self.rpc.session.identity();
            let request = v1::ReadDirReq {
                caller: Some(self.rpc.caller(identity, None, &self.who)),
                dir: self.dir.0,
                cookie: self.cookie,
                want_attrs: self.want_attrs,
            };
            self.rpc.metrics.sent(Verb::ReadDir);
            let mut meta = self.rpc.channels.meta();
            match interrupt::wait(timeout(PAGE, Box::pin(meta.read_dir(request)))).await? {
                Err(_) => return Ok(Err(late())),
                Ok(Err(s)) => return Ok(Err(status::to_error(&s))),
                Ok(Ok(stream)) => self.stream = Some(stream.into_inner()),
            }
        }
        let stream = self.stream.as_mut().expect("it was just opened");
        Ok(match interrupt::wait(timeout(PAGE, stream.message())).await? {
            Err(_) => Err(late()),
            Ok(Err(s)) => Err(status::to_error(&s)),
            Ok(Ok(Some(page))) => page.into_result(),
            Ok(Ok(None)) => {
                Err(FsError::new(Code::Unavailable, "a listing ended without its last page"))
            }
        })
    }
}
