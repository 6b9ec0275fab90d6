//! References in a page, resolved against the page's address (RFC 3986, section 5).

/// The absolute `http` or `https` URL, or URL under the base's own scheme, that `reference` means on a page at `base`.
///
/// White space at the ends and line breaks inside are removed as browsers do, the fragment is dropped, and dot segments
/// are folded. Nothing is percent-encoded or decoded, so that a mirror finds the name as the page writes it. `None` if
/// the reference is empty, has another scheme, or `base` is not absolute.
pub fn resolve_url(base: &str, reference: &str) -> Option<String> {
    let reference: String = reference.trim().chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).collect();
    let reference = before(&reference, "#");
    let (base_scheme, base_rest) = split_scheme(base)?;
    if reference.is_empty() {
        return None;
    }
    if let Some((scheme, rest)) = split_scheme(reference) {
        let known = ["http", "https", base_scheme].iter().any(|s| scheme.eq_ignore_ascii_case(s));
        let (host, path) = split_host(rest.strip_prefix("//")?);
        return known.then(|| assemble(scheme, host, path));
    }
    let base_rest = before(base_rest, "#").strip_prefix("//")?;
    if let Some(rest) = reference.strip_prefix("//") {
        let (host, path) = split_host(rest);
        return Some(assemble(base_scheme, host, path));
    }
    let (host, base_path) = split_host(base_rest);
    if reference.starts_with('/') {
        return Some(assemble(base_scheme, host, reference));
    }
    let base_path = before(base_path, "?");
    if reference.starts_with('?') {
        return Some(assemble(base_scheme, host, &format!("{base_path}{reference}")));
    }
    let folder = base_path.rfind('/').map_or("/", |slash| &base_path[..=slash]);
    Some(assemble(base_scheme, host, &format!("{folder}{reference}")))
}

fn before<'a>(text: &'a str, mark: &str) -> &'a str {
    text.split_once(mark).map_or(text, |(head, _)| head)
}

fn split_scheme(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once(':')?;
    let mut bytes = scheme.bytes();
    let sound = bytes.next()?.is_ascii_alphabetic()
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    sound.then_some((scheme, rest))
}

/// Host and what follows it.
fn split_host(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()))
}

fn assemble(scheme: &str, host: &str, path_and_query: &str) -> String {
    let (path, query) = match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let mut url = format!("{}://{host}", scheme.to_ascii_lowercase());
    for segment in &kept {
        url.push('/');
        url.push_str(segment);
    }
    if kept.is_empty() {
        url.push('/');
    }
    url.push_str(&query);
    url
}
