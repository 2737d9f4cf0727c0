//! How bodies get past the generated code: services around its own, which exchange them for others.

use super::{Bulk, Receiving, Sending};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::tokio_stream::Stream;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;

/// A body on its way past the generated code, in the extensions of a request or a response.
#[derive(Clone, Default)]
pub struct Handed(Arc<Mutex<Option<Body>>>);

impl Handed {
    /// A body to send.
    pub fn new<M, S>(body: Sending<S>) -> Handed
    where
        M: Bulk,
        S: Stream<Item = M> + Send + Unpin + 'static,
    {
        Handed(Arc::new(Mutex::new(Some(Body::new(body)))))
    }

    fn put(&self, body: Body) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
    }

    fn take(&self) -> Option<Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The messages of a body that was received; those of an empty one if none was. Longer ones than
    /// `longest` bytes are refused.
    pub fn received<M: Bulk>(&self, longest: usize) -> Receiving<M> {
        Receiving::new(self.take().unwrap_or_default(), longest)
    }
}

/// A channel whose next request has another body than the one that a generated client made for it.
pub struct WithBody<C> {
    channel: C,
    body: Option<Body>,
}

impl<C> WithBody<C> {
    /// Sends `body` by `channel`.
    pub fn new<M, S>(channel: C, body: Sending<S>) -> WithBody<C>
    where
        M: Bulk,
        S: Stream<Item = M> + Send + Unpin + 'static,
    {
        WithBody { channel, body: Some(Body::new(body)) }
    }
}

impl<C: Service<Request<Body>>> Service<Request<Body>> for WithBody<C> {
    type Response = C::Response;
    type Error = C::Error;
    type Future = C::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.channel.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> C::Future {
        let body = self.body.take();
        self.channel.call(request.map(|generated| body.unwrap_or(generated)))
    }
}

/// A channel that keeps the bodies of replies back from a generated client.
pub struct Keeping<C> {
    channel: C,
    kept: Handed,
}

impl<C> Keeping<C> {
    /// Calls by `channel`; the body of the last reply is in the second part of the answer.
    pub fn new(channel: C) -> (Keeping<C>, Handed) {
        let kept = Handed::default();
        (Keeping { channel, kept: kept.clone() }, kept)
    }
}

impl<C> Service<Request<Body>> for Keeping<C>
where
    C: Service<Request<Body>, Response = Response<Body>>,
    C::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = C::Error;
    type Future = BoxFuture<Response<Body>, C::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.channel.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (reply, kept) = (self.channel.call(request), self.kept.clone());
        Box::pin(async move { Ok(reply.await?.map(|body| replace(&kept, body))) })
    }
}

/// A generated server that gets the bodies of one of its methods handed past it, and may answer with
/// a body that is.
#[derive(Clone)]
pub struct Passing<S> {
    server: S,
    /// Name of the method.
    method: &'static str,
}

impl<S: NamedService> Passing<S> {
    /// `method` as in the definition of the service: its requests come without body, which is in their
    /// extensions as [`Handed`].
    pub fn new(server: S, method: &'static str) -> Passing<S> {
        Passing { server, method }
    }
}

impl<S: NamedService> NamedService for Passing<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Passing<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.server.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let path = request.uri().path();
        if path.rsplit_once('/').is_some_and(|(_, method)| method == self.method) {
            let handed = Handed::default();
            request = request.map(|body| replace(&handed, body));
            request.extensions_mut().insert(handed);
        }
        let reply = self.server.call(request);
        Box::pin(async move {
            let mut response = reply.await?;
            let handed = response.extensions_mut().remove::<Handed>();
            let body = handed.and_then(|handed| handed.take());
            Ok(response.map(|generated| body.unwrap_or(generated)))
        })
    }
}

/// Hands `body` on, and answers the empty one that stands in for it.
fn replace(handed: &Handed, body: Body) -> Body {
    handed.put(body);
    Body::empty()
}
