//! Images without documents: a folder or a tar of image files.

use super::{Document, ImageRef};

const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "gif"];

/// One document without text for each name in `names` that ends like an image; the others are passed over, but keep
/// their number. The URL of an image, and of its document, is `base_url`, a slash if it has none, and the name, in which `%`, `?` and `#` are
/// escaped: they would end the path.
pub fn image_documents<'a>(
    base_url: &'a str,
    names: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = Document> {
    // One slash: `source:///` is a prefix of its own.
    let base = base_url.strip_suffix('/').unwrap_or(base_url);
    names.into_iter().enumerate().filter(|(_, name)| is_image(name)).map(move |(row, name)| {
        let url = format!("{base}/{}", escape(name));
        let image = ImageRef { position: 0, url: url.clone(), alt: None };
        Document { url: Some(url), source_row: row as u64, images: vec![image], ..Document::default() }
    })
}

/// A name as a part of a URL's path.
pub fn escape(name: &str) -> String {
    name.replace('%', "%25").replace('?', "%3F").replace('#', "%23")
}

/// Whether a name ends like an image's.
pub fn is_image(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    matches!(file.rsplit_once('.'), Some((stem, end)) if !stem.is_empty() && EXTENSIONS.iter().any(|e| end.eq_ignore_ascii_case(e)))
}
