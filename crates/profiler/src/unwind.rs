//! From registers and a part of a stack to the addresses that lead there.

use std::{fs, io, ops::Range, os::unix::fs::FileExt as _, path::Path};

use framehop::{
    CacheNative, ExplicitModuleSectionInfo, MayAllocateDuringUnwind, Module, UnwindRegsNative,
    Unwinder as _, UnwinderNative,
};
use object::{Object as _, ObjectSection as _, ObjectSegment as _, ReadCache, ReadRef};

use crate::signal::{Registers, Sample};

/// What is further out is left away.
const FRAMES_MAX: usize = 256;
/// What the kernel lays into each process, without a file.
const OF_KERNEL: &str = "[vdso]";

/// Knows how functions of this process lead back to those that called them.
pub(crate) struct Unwinding {
    unwinder: UnwinderNative<Vec<u8>, MayAllocateDuringUnwind>,
    cache: CacheNative<MayAllocateDuringUnwind>,
}

impl Unwinding {
    /// Reads the tables of what is loaded now.
    pub(crate) fn of_this_process() -> Result<Self, io::Error> {
        let mut unwinder = UnwinderNative::new();
        for line in fs::read_to_string("/proc/self/maps")?.lines() {
            // Of what cannot be read, frame pointers are followed.
            if let Some(module) = Loaded::parse(line).and_then(|loaded| loaded.module()) {
                unwinder.add_module(module);
            }
        }
        Ok(Self { unwinder, cache: CacheNative::new() })
    }

    /// The innermost first: as many as are found.
    pub(crate) fn frames(&mut self, sample: &Sample) -> Vec<u64> {
        let Registers { pc, sp, .. } = sample.registers;
        let stack = sample.stack();
        let mut read = |address: u64| {
            let at = address.checked_sub(sp).and_then(|at| usize::try_from(at).ok()).ok_or(())?;
            let bytes = stack.get(at..).and_then(|rest| rest.first_chunk()).ok_or(())?;
            Ok(u64::from_ne_bytes(*bytes))
        };
        let registers = of(sample.registers);
        let mut all = self.unwinder.iter_frames(pc, registers, &mut self.cache, &mut read);
        let mut frames = Vec::new();
        while frames.len() < FRAMES_MAX
            && let Ok(Some(frame)) = all.next()
        {
            frames.push(frame.address_for_lookup());
        }
        frames
    }
}

#[cfg(target_arch = "x86_64")]
fn of(Registers { pc, sp, fp, .. }: Registers) -> UnwindRegsNative {
    UnwindRegsNative::new(pc, sp, fp)
}

#[cfg(target_arch = "aarch64")]
fn of(Registers { sp, fp, lr, .. }: Registers) -> UnwindRegsNative {
    UnwindRegsNative::new(lr, sp, fp)
}

/// Code that is loaded, a line of `/proc/self/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Loaded<'a> {
    at: Range<u64>,
    /// In the file.
    offset: u64,
    path: &'a str,
}

impl<'a> Loaded<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.splitn(6, ' ');
        let (start, end) = words.next()?.split_once('-')?;
        let may = words.next()?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let offset = number(words.next()?)?;
        let path = words.nth(2)?.trim_start();
        let is_code = may.contains('x') && (path.starts_with('/') || path == OF_KERNEL);
        is_code.then_some(Self { at: number(start)?..number(end)?, offset, path })
    }

    fn module(&self) -> Option<Module<Vec<u8>>> {
        if self.path == OF_KERNEL {
            let mut bytes = vec![0; usize::try_from(self.at.end - self.at.start).ok()?];
            let memory = fs::File::open("/proc/self/mem").ok()?;
            memory.read_exact_at(&mut bytes, self.at.start).ok()?;
            return self.parsed(&*bytes);
        }
        // That of the process is there under this name, too, when another has taken its place.
        let own = Path::new("/proc/self/exe");
        let is_own = fs::read_link(own).is_ok_and(|path| path == Path::new(self.path));
        let file = fs::File::open(if is_own { own } else { Path::new(self.path) }).ok()?;
        self.parsed(&ReadCache::new(file))
    }

    fn parsed<'b, R: ReadRef<'b>>(&self, bytes: R) -> Option<Module<Vec<u8>>> {
        let file = object::File::parse(bytes).ok()?;
        // A file says where its parts lie to each other, and this line where one of them is. The line is
        // of whole pages, so that parts beside it may seem to be within.
        let part = file.segments().find(|part| {
            let (offset, length) = part.file_range();
            let is_code = part.permissions().executable();
            let is_within = offset.saturating_add(length) > self.offset;
            is_code && is_within && offset < self.offset + (self.at.end - self.at.start)
        })?;
        let stated = part.address().wrapping_add(self.offset).wrapping_sub(part.file_range().0);
        let base = self.at.start.wrapping_sub(stated);
        let section = |name: &str| {
            let section = file.section_by_name(name)?;
            let range = section.address()..section.address().saturating_add(section.size());
            Some((range, section))
        };
        let range = |name: &str| section(name).map(|(range, _)| range);
        let data = |name: &str| Some(section(name)?.1.data().ok()?.to_vec());
        let sections = ExplicitModuleSectionInfo {
            text_svma: range(".text"),
            got_svma: range(".got"),
            eh_frame_svma: range(".eh_frame"),
            eh_frame: data(".eh_frame"),
            eh_frame_hdr_svma: range(".eh_frame_hdr"),
            eh_frame_hdr: data(".eh_frame_hdr"),
            ..ExplicitModuleSectionInfo::default()
        };
        Some(Module::new(self.path.to_owned(), self.at.clone(), base, sections))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_found_among_what_is_mapped() {
        let line = "7f0000001000-7f0000003000 r-xp 00001000 fe:00 12    /a dir/libc.so (deleted)";
        let at = 0x7f00_0000_1000..0x7f00_0000_3000;
        let expected = Loaded { at, offset: 0x1000, path: "/a dir/libc.so (deleted)" };
        assert_eq!(Loaded::parse(line), Some(expected));
        for line in [
            "7f0000001000-7f0000003000 rw-p 00001000 fe:00 12    /lib/libc.so",
            "7f0000001000-7f0000003000 r-xp 00000000 00:00 0 ",
            "7ffd0000-7ffe0000 rw-p 00000000 00:00 0    [stack]",
            "",
        ] {
            assert_eq!(Loaded::parse(line), None, "{line}");
        }
    }
}
