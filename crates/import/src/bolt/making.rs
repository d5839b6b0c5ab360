//! Files made here, byte by byte: for tests, and for what `fuzz/` gives to the reader.

use super::fnv1a;

/// A bbolt file in the making.
pub(crate) struct Maker {
    page_bytes: usize,
    /// From page 2 on.
    pub(super) pages: Vec<u8>,
}

pub(crate) type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// What a bucket is to hold.
pub(crate) enum Content {
    Rows(Rows),
    /// In the row that names it.
    Inline(Rows),
    /// Buckets inside.
    #[cfg(test)]
    Buckets(Vec<(&'static str, Content)>),
    /// What this page leads to.
    #[cfg(feature = "fuzzing")]
    At(u64),
}

impl Maker {
    pub(crate) fn new(page_bytes: usize) -> Self {
        Self { page_bytes, pages: Vec::new() }
    }

    /// The number of the next page.
    pub(crate) fn next(&self) -> u64 {
        2 + (self.pages.len() / self.page_bytes) as u64
    }

    fn add(&mut self, flags: u16, count: usize, body: &[u8]) -> u64 {
        let id = self.next();
        let length = 16 + body.len();
        let run = length.div_ceil(self.page_bytes);
        self.pages.extend(header(id, flags, count, run - 1));
        self.pages.extend(body);
        self.pages.resize((usize::try_from(id).unwrap() - 2 + run) * self.page_bytes, 0);
        id
    }

    fn leaf(&mut self, rows: &[(Vec<u8>, Vec<u8>, bool)]) -> u64 {
        let body = leaf_body(rows);
        self.add(2, rows.len(), &body)
    }

    pub(crate) fn branch(&mut self, children: &[(Vec<u8>, u64)]) -> u64 {
        let mut body = Vec::new();
        let mut from = children.len() * 16;
        for (index, (key, page)) in children.iter().enumerate() {
            body.extend(u32::try_from(from - index * 16).unwrap().to_le_bytes());
            body.extend(u32::try_from(key.len()).unwrap().to_le_bytes());
            body.extend(page.to_le_bytes());
            from += key.len();
        }
        body.extend(children.iter().flat_map(|(key, _)| key));
        self.add(1, children.len(), &body)
    }

    /// A tree over these rows; its root.
    pub(super) fn tree(&mut self, rows: &[(Vec<u8>, Vec<u8>, bool)]) -> u64 {
        let mut level: Vec<(Vec<u8>, u64)> =
            rows.chunks(7).map(|rows| (rows[0].0.clone(), self.leaf(rows))).collect();
        if level.is_empty() {
            return self.leaf(&[]);
        }
        while level.len() > 1 {
            level = level
                .chunks(5)
                .map(|children| (children[0].0.clone(), self.branch(children)))
                .collect();
        }
        level[0].1
    }

    fn bucket(&mut self, content: &Content) -> Vec<u8> {
        let plain = |rows: &Rows| -> Vec<_> {
            rows.iter().map(|(key, value)| (key.clone(), value.clone(), false)).collect()
        };
        let root = match content {
            Content::Inline(rows) => {
                let rows = plain(rows);
                let mut value = vec![0; 16];
                value.extend(header(0, 2, rows.len(), 0));
                value.extend(leaf_body(&rows));
                return value;
            }
            Content::Rows(rows) => self.tree(&plain(rows)),
            #[cfg(test)]
            Content::Buckets(buckets) => self.buckets(buckets),
            #[cfg(feature = "fuzzing")]
            Content::At(page) => *page,
        };
        [root.to_le_bytes(), [0; 8]].concat()
    }

    /// A tree over these; its root.
    pub(crate) fn buckets(&mut self, buckets: &[(&'static str, Content)]) -> u64 {
        let rows: Vec<_> = buckets
            .iter()
            .map(|(name, content)| (name.as_bytes().to_vec(), self.bucket(content), true))
            .collect();
        self.tree(&rows)
    }

    /// Pages as they come, but that each has its number, and is a leaf unless it is a branch.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn give(&mut self, pages: &[u8]) {
        for page in pages.chunks(self.page_bytes) {
            let (id, from) = (self.next(), self.pages.len());
            self.pages.extend(page);
            self.pages.resize(from + self.page_bytes, 0);
            let page = &mut self.pages[from..];
            page[..8].copy_from_slice(&id.to_le_bytes());
            if page[8..10] != [1, 0] {
                page[8..10].copy_from_slice(&[2, 0]);
            }
        }
    }

    /// The file, with this root and both metas, the newer of which is page 0.
    pub(crate) fn finish(self, root: u64) -> Vec<u8> {
        let pages = self.next();
        let mut file = meta_page(self.page_bytes, 0, (root, pages, 8));
        file.extend(meta_page(self.page_bytes, 1, (root, pages, 7)));
        file.extend(self.pages);
        file
    }
}

fn header(id: u64, flags: u16, count: usize, overflow: usize) -> Vec<u8> {
    let mut header = id.to_le_bytes().to_vec();
    header.extend(flags.to_le_bytes());
    header.extend(u16::try_from(count).unwrap().to_le_bytes());
    header.extend(u32::try_from(overflow).unwrap().to_le_bytes());
    header
}

fn leaf_body(rows: &[(Vec<u8>, Vec<u8>, bool)]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut from = rows.len() * 16;
    for (index, (key, value, is_bucket)) in rows.iter().enumerate() {
        body.extend(u32::from(*is_bucket).to_le_bytes());
        body.extend(u32::try_from(from - index * 16).unwrap().to_le_bytes());
        body.extend(u32::try_from(key.len()).unwrap().to_le_bytes());
        body.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
        from += key.len() + value.len();
    }
    body.extend(rows.iter().flat_map(|(key, value, _)| [&key[..], value].concat()));
    body
}

pub(super) fn meta_page(
    page_bytes: usize,
    id: u64,
    (root, pages, transaction): (u64, u64, u64),
) -> Vec<u8> {
    let mut meta = 0xED0C_DAED_u32.to_le_bytes().to_vec();
    meta.extend(2_u32.to_le_bytes());
    meta.extend(u32::try_from(page_bytes).unwrap().to_le_bytes());
    meta.extend([0; 4]);
    for number in [root, 0, u64::MAX, pages, transaction] {
        meta.extend(number.to_le_bytes());
    }
    meta.extend(fnv1a(&meta).to_le_bytes());
    let mut page = header(id, 4, 0, 0);
    page.extend(meta);
    page.resize(page_bytes, 0);
    page
}

/// Makes the checksums of both metas right again.
pub(crate) fn seal(file: &mut [u8], page_bytes: usize) {
    for page in file.chunks_mut(page_bytes).take(2).filter(|page| page.len() >= 80) {
        let sum = fnv1a(&page[16..72]);
        page[72..80].copy_from_slice(&sum.to_le_bytes());
    }
}

/// A file with these buckets.
pub(crate) fn file(page_bytes: usize, buckets: &[(&'static str, Content)]) -> Vec<u8> {
    let mut maker = Maker::new(page_bytes);
    let root = maker.buckets(buckets);
    maker.finish(root)
}
