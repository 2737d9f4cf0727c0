//! What is mounted: `HOST:PORT[/DIR]` or `unix:/SOCKET[:/DIR]`, IPv6 addresses in brackets.

use crate::exit::{Failure, Result};
use dfs_client::config::Address;
use dfs_core::name::Name;

/// A parsed source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The server.
    pub server: Address,
    /// Directory of the server's tree that becomes the root of the mount.
    pub subtree: Vec<Name>,
}

/// Parses a source. Fails with a usage message that names the source and what is wrong with it.
pub fn parse(text: &str) -> Result<Source> {
    let fail = |why: &str| Failure::usage(format!("source '{text}' {why}"));
    if let Some(rest) = text.strip_prefix("unix:") {
        let (socket, dir) = match rest.split_once(":/") {
            Some((socket, dir)) => (socket, dir),
            None => (rest, ""),
        };
        if !socket.starts_with('/') {
            return Err(fail("needs an absolute socket path: write unix:/SOCKET[:/DIR]"));
        }
        return Ok(Source { server: Address::Unix(socket.into()), subtree: names(dir, fail)? });
    }
    let (server, dir) = text.split_once('/').unwrap_or((text, ""));
    let Some((host, port)) = server.rsplit_once(':') else {
        return Err(fail("lacks a port: write HOST:PORT[/DIR] or unix:/SOCKET[:/DIR]"));
    };
    let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    if host.is_empty() {
        return Err(fail("lacks a host: write HOST:PORT[/DIR]"));
    }
    if !bracketed && host.contains([':', '[', ']']) {
        return Err(fail("holds an IPv6 address without brackets: write [ADDRESS]:PORT[/DIR]"));
    }
    if !port.bytes().all(|b| b.is_ascii_digit()) || !port.parse::<u16>().is_ok_and(|p| p > 0) {
        return Err(fail(&format!("has a wrong port '{port}': write a number from 1 to 65535")));
    }
    Ok(Source { server: Address::Tcp(server.to_owned()), subtree: names(dir, fail)? })
}

fn names(dir: &str, fail: impl Fn(&str) -> Failure) -> Result<Vec<Name>> {
    dir.split('/')
        .filter(|part| !part.is_empty())
        .map(|part| Name::new(part.as_bytes()))
        .collect::<dfs_core::Result<_>>()
        .map_err(|e| fail(&format!("has a wrong directory: {}", e.message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_forms_are_understood() {
        let tcp = |s: &str| Address::Tcp(s.to_owned());
        for (text, server, subtree) in [
            ("host:2000", tcp("host:2000"), &[][..]),
            ("10.0.0.1:65535/", tcp("10.0.0.1:65535"), &[]),
            ("host:1/a//b/", tcp("host:1"), &["a", "b"]),
            ("[::1]:2000/x:y", tcp("[::1]:2000"), &["x:y"]),
            ("unix:/run/dfs.sock", Address::Unix("/run/dfs.sock".into()), &[]),
            ("unix:/run/s:/a/b", Address::Unix("/run/s".into()), &["a", "b"]),
        ] {
            let source = parse(text).unwrap();
            assert_eq!(source.server, server, "{text}");
            let names: Vec<_> = source.subtree.iter().map(Name::to_string).collect();
            assert_eq!(names, subtree, "{text}");
        }
    }

    #[test]
    fn source_mistakes_are_named() {
        for (text, part) in [
            ("", "lacks a port"),
            ("host", "lacks a port"),
            ("host/dir", "lacks a port"),
            (":2000", "lacks a host"),
            ("::1:2000", "without brackets"),
            ("[]:1", "without brackets"),
            ("host:0", "wrong port '0'"),
            ("host:65536", "wrong port '65536'"),
            ("host:+1", "wrong port '+1'"),
            ("host:http", "wrong port 'http'"),
            ("host:1/a/../b", "wrong directory"),
            ("unix:relative", "absolute socket path"),
        ] {
            let failure = parse(text).unwrap_err();
            assert_eq!(failure.status, crate::exit::USAGE, "{text}");
            assert!(failure.message.contains(part), "{text}: {}", failure.message);
            assert!(!failure.message.contains('\n'));
        }
    }
}
