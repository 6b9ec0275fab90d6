//! Images without documents: a folder or a tar of image files.

use super::{Document, ImageRef};

const EXTENSIONS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "gif"];

/// One document without text for each name in `names` that ends like an image; the others are passed over, but keep
/// their number. The URL of an image, and of its document, is `base_url`, a slash and the name.
pub fn image_documents<'a>(
    base_url: &'a str,
    names: impl IntoIterator<Item = &'a str>,
) -> impl Iterator<Item = Document> {
    names.into_iter().enumerate().filter(|(_, name)| is_image(name)).map(move |(row, name)| {
        let url = format!("{base_url}/{name}");
        let image = ImageRef { position: 0, url: url.clone(), alt: None };
        Document { url: Some(url), source_row: row as u64, images: vec![image], ..Document::default() }
    })
}

fn is_image(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    matches!(file.rsplit_once('.'), Some((stem, end)) if !stem.is_empty() && EXTENSIONS.iter().any(|e| end.eq_ignore_ascii_case(e)))
}
