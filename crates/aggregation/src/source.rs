//! Where numbers come from.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A vector of numbers that can be read piece by piece, from several threads.
pub trait TensorSource: Send + Sync {
    /// Fills `out` with the numbers `offset .. offset + out.len()`.
    ///
    /// # Errors
    ///
    /// Of kind `UnexpectedEof` when there are not that many, and what the medium says.
    fn read(&self, offset: usize, out: &mut [f32]) -> io::Result<()>;

    /// The numbers `offset .. offset + len` where they are, if they are in memory.
    fn view(&self, _offset: usize, _len: usize) -> Option<&[f32]> {
        None
    }
}

/// Numbers in memory.
#[derive(Debug, Clone, Copy)]
pub struct SliceSource<'a>(pub &'a [f32]);

impl TensorSource for SliceSource<'_> {
    fn read(&self, offset: usize, out: &mut [f32]) -> io::Result<()> {
        let numbers = self.view(offset, out.len());
        out.copy_from_slice(numbers.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn view(&self, offset: usize, len: usize) -> Option<&[f32]> {
        self.0.get(offset..offset.checked_add(len)?)
    }
}

/// Little-endian numbers in a file, from a byte offset on.
#[derive(Debug)]
pub struct FileSource {
    /// The file, which may hold other things before and after.
    pub file: Arc<File>,
    /// Where the first number begins, in bytes.
    pub byte_offset: u64,
}

impl TensorSource for FileSource {
    fn read(&self, offset: usize, out: &mut [f32]) -> io::Result<()> {
        let position = (offset as u64)
            .checked_mul(4)
            .and_then(|bytes| bytes.checked_add(self.byte_offset))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        self.file
            .read_exact_at(bytemuck::cast_slice_mut(out), position)?;
        if cfg!(target_endian = "big") {
            for number in out {
                *number = f32::from_bits(number.to_bits().swap_bytes());
            }
        }
        Ok(())
    }
}

/// Looks at all numbers before it searches for one: the first loop has no exit, so it vectorises.
pub(crate) fn first_non_finite(numbers: &[f32]) -> Option<usize> {
    let all = numbers
        .iter()
        .fold(true, |all, number| all & number.is_finite());
    if all {
        None
    } else {
        numbers.iter().position(|number| !number.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A file of `numbers` after `skip` bytes of something else.
    fn file_of(skip: usize, numbers: &[f32]) -> FileSource {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![0xff; skip]).unwrap();
        for number in numbers {
            file.write_all(&number.to_le_bytes()).unwrap();
        }
        FileSource {
            file: Arc::new(file),
            byte_offset: skip as u64,
        }
    }

    #[test]
    fn a_file_gives_what_a_slice_gives() {
        let numbers: Vec<f32> = (0..20_000_u16).map(|n| f32::from(n) / 7.0).collect();
        let file = file_of(13, &numbers);
        for (offset, len) in [(0, 20_000), (8_191, 3), (19_999, 1), (20_000, 0)] {
            let (mut from_file, mut from_slice) = (vec![0.0; len], vec![0.0; len]);
            file.read(offset, &mut from_file).unwrap();
            SliceSource(&numbers).read(offset, &mut from_slice).unwrap();
            assert_eq!(from_file, from_slice);
        }
    }

    #[test]
    fn reading_past_the_end_is_an_error() {
        let file = file_of(0, &[1.0, 2.0]);
        for offset in [1, 2, usize::MAX] {
            for result in [
                file.read(offset, &mut [0.0; 2]),
                SliceSource(&[1.0, 2.0]).read(offset, &mut [0.0; 2]),
            ] {
                assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
            }
        }
    }

    #[test]
    fn the_first_number_that_is_none_is_found() {
        let mut numbers = vec![f32::MAX; 100];
        assert_eq!(first_non_finite(&numbers), None);
        numbers[99] = f32::NEG_INFINITY;
        numbers[3] = f32::NAN;
        assert_eq!(first_non_finite(&numbers), Some(3));
    }
}
