//! Metrics over HTTP for a Prometheus server: any `GET` gets the text.

use crate::metrics::Metrics;
use crate::nameserver::NameServer;
use anyhow::Result;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Scrapers served at once.
const CONNECTIONS: usize = 16;
/// Longest request head in bytes.
const HEAD_MAX: u64 = 8192;
/// A scraper must ask and read within this time.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves until `stopped`.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    server: Arc<NameServer>,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let (conn, _) = tokio::select! {
            conn = listener.accept() => conn?,
            _ = stopped.wait_for(|stop| *stop) => return Ok(()),
        };
        let place = places.clone().acquire_owned().await?;
        let text = metrics.text(&server.session_list());
        tokio::spawn(async move {
            // A scraper that hangs or leaves loses its answer, nothing else.
            let _ = tokio::time::timeout(PATIENCE, answer(conn, text)).await;
            drop(place);
        });
    }
}

async fn answer(conn: TcpStream, text: String) -> std::io::Result<()> {
    let (read, mut write) = conn.into_split();
    let mut head = BufReader::new(read.take(HEAD_MAX));
    let mut line = String::new();
    while head.read_line(&mut line).await? > 0 && !line.ends_with("\r\n\r\n") {
        if line == "\r\n" {
            break;
        }
    }
    let (status, body) = match line.starts_with("GET ") {
        true => ("200 OK", text),
        false => ("405 Method Not Allowed", String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    write.write_all(head.as_bytes()).await?;
    write.write_all(body.as_bytes()).await?;
    write.shutdown().await
}
