//! A server with something to find on it: an echo, a redirect, a WebSocket, a git repository. It keeps the heads of all requests.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION, HeaderMap, LOCATION, UPGRADE, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{Authority, Body, Upstream, of_bytes, text};

const GIT: &str = "/usr/lib/git-core/git-http-backend";

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// Path and query.
    pub target: String,
    pub headers: HeaderMap,
}

impl Arrived {
    /// Everything that its head says.
    pub fn text(&self) -> String {
        format!("{} {:?}", self.target, self.headers)
    }
}

/// The server, and what came to it.
pub struct Site {
    pub upstream: Upstream,
    content: Arc<Content>,
}

struct Content {
    arrived: Mutex<Vec<Arrived>>,
    /// The folder of the repositories, and the password that opens them.
    repositories: PathBuf,
    password: String,
    redirects_to: String,
}

impl Site {
    /// - `/echo` answers with the request's headers and body;
    /// - `/kept` answers with what the last `/echo` was told;
    /// - `/away` redirects to `redirects_to`;
    /// - `/socket` upgrades to a connection that gives back what it is sent;
    /// - `/git/…` are the repositories, for any name with the password;
    /// - everything else is answered as [`Upstream::of_bytes`] does.
    pub async fn start(
        authority: &Authority,
        names: &[&str],
        repositories: &Path,
        password: &str,
        redirects_to: &str,
    ) -> anyhow::Result<Self> {
        let content = Arc::new(Content {
            arrived: Mutex::default(),
            repositories: repositories.to_owned(),
            password: password.to_owned(),
            redirects_to: redirects_to.to_owned(),
        });
        let served = content.clone();
        let answer = Arc::new(move |request| {
            let content = served.clone();
            Box::pin(async move { content.answer(request).await }) as _
        });
        let upstream = Upstream::start(authority, names, answer).await?;
        Ok(Self { upstream, content })
    }

    /// The requests so far.
    pub fn arrived(&self) -> Vec<Arrived> {
        self.content.arrived.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Content {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        let arrived = Arrived { target: target.clone(), headers: request.headers().clone() };
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).push(arrived.clone());
        let path = request.uri().path().to_owned();
        let answered = match path.as_str() {
            "/echo" => echo(&arrived, request).await,
            "/kept" => Ok(Response::new(text(self.kept()))),
            "/away" => self.redirect(),
            "/socket" => upgrade(request),
            path if path.starts_with("/git/") => self.git(request).await,
            _ => Ok(of_bytes(request).await),
        };
        answered.unwrap_or_else(|fault| {
            let mut response = Response::new(text(format!("{fault:#}")));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
    }

    fn kept(&self) -> String {
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let of_echo = arrived.iter().rev().find(|it| it.target.starts_with("/echo"));
        of_echo.map(Arrived::text).unwrap_or_default()
    }

    fn redirect(&self) -> anyhow::Result<Response<Body>> {
        let response = Response::builder().status(302).header(LOCATION, &self.redirects_to);
        Ok(response.body(text(""))?)
    }

    /// What `git-http-backend(1)` makes of it.
    async fn git(&self, request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
        if password_of(request.headers()).as_deref() != Some(self.password.as_str()) {
            let refused =
                Response::builder().status(401).header(WWW_AUTHENTICATE, "Basic realm=git");
            return Ok(refused.body(text("no"))?);
        }
        let header =
            |name| request.headers().get(name).and_then(|it| it.to_str().ok()).unwrap_or("");
        let mut command = Command::new(GIT);
        command
            .env_clear()
            .env("GIT_PROJECT_ROOT", &self.repositories)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REMOTE_USER", "agent")
            .env("PATH_INFO", request.uri().path().trim_start_matches("/git"))
            .env("QUERY_STRING", request.uri().query().unwrap_or_default())
            .env("REQUEST_METHOD", request.method().as_str())
            .env("CONTENT_TYPE", header("content-type"))
            .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
            .env("GIT_PROTOCOL", header("git-protocol"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let body = request.into_body().collect().await?.to_bytes();
        let mut process = command.spawn()?;
        let mut input = process.stdin.take().context("no stdin")?;
        let ((), output) = tokio::join!(
            async move {
                // One that answers without reading everything is no failure.
                drop(input.write_all(&body).await);
                drop(input);
            },
            process.wait_with_output()
        );
        as_response(&output?.stdout)
    }
}

async fn echo(arrived: &Arrived, request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
    let body = request.into_body().collect().await?.to_bytes();
    let told = format!("{}\n{}", arrived.text(), String::from_utf8_lossy(&body));
    let mut response = Response::new(text(told));
    if let Some(authorization) = arrived.headers.get(AUTHORIZATION) {
        response.headers_mut().insert("x-given", authorization.clone());
    }
    Ok(response)
}

/// From here on the bytes go back as they come.
fn upgrade(mut request: Request<Incoming>) -> anyhow::Result<Response<Body>> {
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(connection) = upgraded.await else { return };
        let (mut from, mut to) = tokio::io::split(TokioIo::new(connection));
        drop(tokio::io::copy(&mut from, &mut to).await);
    });
    let response = Response::builder().status(101).header(CONNECTION, "upgrade");
    Ok(response.header(UPGRADE, "websocket").body(text(""))?)
}

fn password_of(headers: &HeaderMap) -> Option<String> {
    let login = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let login = String::from_utf8(STANDARD.decode(login).ok()?).ok()?;
    Some(login.split_once(':')?.1.to_owned())
}

/// What a CGI program printed: headers, an empty line, the body.
fn as_response(printed: &[u8]) -> anyhow::Result<Response<Body>> {
    let end = printed.windows(4).position(|window| window == b"\r\n\r\n").context("no head")?;
    let (head, body) = printed.split_at(end);
    let mut response = Response::builder();
    for line in std::str::from_utf8(head)?.lines() {
        let (name, value) = line.split_once(": ").context("no header")?;
        if name == "Status" {
            response = response.status(value.split(' ').next().unwrap_or("500"));
        } else {
            response = response.header(name, value);
        }
    }
    let body = Bytes::copy_from_slice(body.get(4..).unwrap_or_default());
    Ok(response.body(text(body))?)
}
