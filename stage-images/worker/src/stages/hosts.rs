//! Hosts as lists and URLs name them: one rule for block lists and for takedowns.

use url::{Host, Url};

/// The host of a URL in the one form in which hosts are compared: lower case, names beyond ASCII in Punycode, an IPv6 address
/// shortened and in brackets, without the dot that may end a name. `None` if the URL has none.
pub fn host(url: &str) -> Option<String> {
    comparable(&Url::parse(url).ok()?.host()?.to_owned())
}

/// A host as a line of a list names it, in the same form; an IPv6 address may stand without its brackets. `None` if it is no host.
pub fn listed(line: &str) -> Option<String> {
    let parsed = Host::parse(line).or_else(|error| Host::parse(&format!("[{line}]")).map_err(|_| error));
    comparable(&parsed.ok()?)
}

fn comparable(host: &Host) -> Option<String> {
    let text = host.to_string();
    let text = text.strip_suffix('.').unwrap_or(&text);
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_the_same_however_it_is_written() {
        for (url, wanted) in [
            ("https://Pictures.Example/a.png", "pictures.example"),
            ("https://user:word@pictures.example.:8443/a", "pictures.example"),
            ("http://[::1]:80/a", "[::1]"),
            ("http://[2001:0DB8:0::1]/a", "[2001:db8::1]"),
            ("https://bücher.example/", "xn--bcher-kva.example"),
            ("http://192.0.2.7:8080", "192.0.2.7"),
        ] {
            assert_eq!(host(url).as_deref(), Some(wanted), "{url}");
            assert_eq!(listed(wanted).as_deref(), Some(wanted));
        }
        for (line, wanted) in [
            ("PICTURES.example", "pictures.example"),
            ("pictures.example.", "pictures.example"),
            ("::1", "[::1]"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("BÜCHER.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(listed(line).as_deref(), Some(wanted), "{line}");
        }
    }

    #[test]
    fn what_is_no_host_is_none() {
        for line in ["https://a.example/", "a.example/path", "a.example:80", "user@a.example", "two words", "", "."] {
            assert_eq!(listed(line), None, "{line}");
        }
        for url in ["source:///a.png", "http://[not a url", "no address", "data:image/png,x"] {
            assert_eq!(host(url), None, "{url}");
        }
    }
}
