//! The HTTP client that the SDK uses. It sends HTTP/1.1 requests, normally over TLS, and reuses its connection.
//!
//! A Lambda sandbox sends one request at a time, so it needs one connection and no pool. The SDK's own client supports
//! pools, HTTP/2, proxies and the system's certificates, which cost time in each call and at each cold start.

use std::{
    error::Error,
    fmt, io, iter,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use aws_sdk_dynamodb::config::RuntimeComponents;
use aws_smithy_runtime_api::client::{
    connection::{CaptureSmithyConnection, ConnectionMetadata},
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    retries::ErrorKind,
};
use aws_smithy_types::body::SdkBody;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use lambda_http::http::{HeaderValue, Request, Uri, header::HOST, uri::Scheme};
use rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// How long the TCP and TLS handshakes may take together. Within a region, they usually take a few milliseconds. With
/// the smallest memory size, they take longer, because the function has only a fraction of a core.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that was idle for this long is not used again. A connection may break unnoticed while Lambda freezes
/// the sandbox, and an attempt over a broken connection wastes time. The SDK's own client has the same limit.
const IDLE_LIMIT: Duration = Duration::from_secs(90);

/// An HTTP client that keeps one connection to one host.
#[derive(Clone)]
pub struct Connection {
    tls: TlsConnector,
    idle: Arc<Mutex<Option<Idle>>>,
}

/// The connection that the next request uses. The body of the last response may still be arriving on it.
/// [`Connection::kept`] waits until this body is complete.
struct Idle {
    connection: SendRequest<SdkBody>,
    since: SystemTime,
}

impl Connection {
    /// Creates a client that trusts these root certificates. The client opens its connection for the first request.
    #[must_use]
    pub fn new(roots: RootCertStore) -> Self {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring supports TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            tls: TlsConnector::from(Arc::new(config)),
            idle: Arc::default(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Option<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the idle connection, unless DynamoDB closed it or it was idle for [`IDLE_LIMIT`] or longer.
    async fn kept(&self) -> Option<SendRequest<SdkBody>> {
        let idle = self.idle().take().filter(|idle| is_fresh(idle.since))?;
        let mut connection = idle.connection;
        connection.ready().await.ok()?;
        Some(connection)
    }

    async fn send(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = request.try_into_http1x();
        let mut request = request.map_err(|error| ConnectorError::user(error.into()))?;
        let uri = origin_form(&mut request).map_err(ConnectorError::user)?;
        if let Some(capture) = request.extensions().get::<CaptureSmithyConnection>() {
            let this = self.clone();
            capture.set_connection_retriever(move || Some(this.metadata()));
        }
        loop {
            let kept = self.kept().await;
            let is_kept = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.connect(&uri).await?,
            };
            match connection.try_send_request(request).await {
                Ok(response) => {
                    let since = SystemTime::now();
                    *self.idle() = Some(Idle { connection, since });
                    let response = response.map(SdkBody::from_body_1_x);
                    return HttpResponse::try_from(response)
                        .map_err(|error| ConnectorError::other(error.into(), None));
                }
                Err(mut error) => match error.take_message() {
                    // DynamoDB closed the idle connection before the request was sent. Use another connection.
                    Some(unsent) if is_kept => request = unsent,
                    _ => return Err(classified(error.into_error())),
                },
            }
        }
    }

    /// Returns the metadata that the SDK asks for. After a temporary error, the SDK calls `poison_fn`, which drops the
    /// idle connection, so that the retry uses a new one.
    fn metadata(&self) -> ConnectionMetadata {
        let this = self.clone();
        ConnectionMetadata::builder()
            .proxied(false)
            .poison_fn(move || drop(this.idle().take()))
            .build()
    }

    async fn connect(&self, uri: &Uri) -> Result<SendRequest<SdkBody>, ConnectorError> {
        match tokio::time::timeout(CONNECT_TIMEOUT, self.open(uri)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(ConnectorError::io(error.into())),
            Err(error) => Err(ConnectorError::timeout(error.into())),
        }
    }

    async fn open(&self, uri: &Uri) -> io::Result<SendRequest<SdkBody>> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_tls = uri.scheme() != Some(&Scheme::HTTP);
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tcp = TcpStream::connect((host, port)).await?;
        tcp.set_nodelay(true)?;
        if !is_tls {
            return handshake(tcp).await;
        }
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        handshake(self.tls.connect(name, tcp).await?).await
    }
}

async fn handshake<S>(stream: S) -> io::Result<SendRequest<SdkBody>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(io::Error::other)?;
    // Ignore an error of the connection, because `try_send_request` returns the error too.
    tokio::spawn(async {
        let _ = connection.await;
    });
    Ok(sender)
}

/// Whether a connection that has been idle since this time may still be used. The wall clock measures the idle time,
/// because this clock keeps running while the sandbox is frozen. If the clock was set back, the idle time is unknown,
/// so the connection is not used.
fn is_fresh(since: SystemTime) -> bool {
    since.elapsed().is_ok_and(|idle| idle < IDLE_LIMIT)
}

/// Adds the `Host` header if it is missing, reduces the URI to path and query, and returns the original URI.
fn origin_form(request: &mut Request<SdkBody>) -> Result<Uri, Box<dyn Error + Send + Sync>> {
    let uri = request.uri().clone();
    let authority = uri.authority().ok_or("a URI without a host")?;
    if !request.headers().contains_key(HOST) {
        let host = HeaderValue::from_str(authority.as_str())?;
        request.headers_mut().insert(HOST, host);
    }
    let path = uri.path_and_query().ok_or("a URI without a path")?;
    *request.uri_mut() = Uri::from(path.clone());
    Ok(uri)
}

/// Classifies an error, so that the SDK knows whether to retry.
fn classified(error: hyper::Error) -> ConnectorError {
    let has_io =
        iter::successors(error.source(), |&error| error.source()).any(<dyn Error>::is::<io::Error>);
    if error.is_closed() || error.is_canceled() || has_io {
        ConnectorError::io(error.into())
    } else if error.is_incomplete_message() {
        ConnectorError::other(error.into(), Some(ErrorKind::TransientError))
    } else {
        ConnectorError::other(error.into(), None)
    }
}

impl HttpConnector for Connection {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().send(request))
    }
}

impl HttpClient for Connection {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_expires_after_90_idle_seconds_or_when_the_clock_is_set_back() {
        let now = SystemTime::now();
        assert!(is_fresh(now - Duration::from_secs(85)));
        assert!(!is_fresh(now - Duration::from_secs(91)));
        assert!(!is_fresh(now + Duration::from_secs(3600)));
    }
}
