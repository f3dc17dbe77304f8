//! Images with a border of zeros, in which every tap of a convolution lies at a fixed distance.

use super::super::matmul::Product;
use super::super::parallel::{CHUNK, Shared, chunks};
use super::super::pool::Scratch;

/// A plane of an image as kernels read it: zeros around it, and columns a multiple of the stride
/// apart side by side if the kernel takes neighbouring ones at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Of the plane itself.
    size: [usize; 2],
    /// Zeros above and to the left.
    before: [usize; 2],
    rows: usize,
    /// Elements from one row to the next.
    pitch: usize,
    /// Column `j` is element `j / phases` of part `j % phases` of its row.
    phases: usize,
}

impl Frame {
    /// A plane of `size` with zeros before it and after it, up to `extent`.
    pub fn new(size: [usize; 2], before: [usize; 2], extent: [usize; 2], phases: usize) -> Self {
        if before == [0, 0] && phases == 1 && extent[0] <= size[0] && extent[1] <= size[1] {
            return Self { size, before, rows: size[0], pitch: size[1], phases };
        }
        let pitch = extent[1].next_multiple_of(phases);
        Self { size, before, rows: extent[0], pitch, phases }
    }

    /// Elements of a plane.
    pub fn plane(&self) -> usize {
        self.rows * self.pitch
    }

    /// Where a pixel lies, counted from the first zero.
    pub fn at(&self, row: usize, column: usize) -> usize {
        let part = self.pitch / self.phases;
        row * self.pitch + column % self.phases * part + column / self.phases
    }

    /// Whether planes are the frame already.
    fn is_plane(&self) -> bool {
        self.before == [0, 0] && self.phases == 1 && self.size == [self.rows, self.pitch]
    }

    /// Calls `work` with images in frames, some of them at a time: their range and their planes.
    pub fn images<T: Product>(
        &self,
        x: &[T],
        images: usize,
        channels: usize,
        mut work: impl FnMut(std::ops::Range<usize>, &[T]),
    ) {
        /// Elements at a time: they stay in the last-level cache.
        const SHARED: usize = 1 << 21;
        if self.is_plane() {
            return work(0..images, x);
        }
        let (from, to) = (self.size[0] * self.size[1], self.plane());
        let some = (SHARED / (channels * to).max(1)).clamp(1, images.max(1));
        let mut framed = Scratch::<T>::new(some * channels * to);
        for first in (0..images).step_by(some) {
            let images = first..images.min(first + some);
            let planes = images.len() * channels;
            let framed = &mut framed[..planes * to];
            let out = Shared::new(framed);
            chunks(planes, (CHUNK / to.max(1)).max(1), |range| {
                for plane in range {
                    let x = &x[(first * channels + plane) * from..][..from];
                    // SAFETY: planes do not overlap.
                    self.fill(x, unsafe { out.part(plane * to..(plane + 1) * to) });
                }
            });
            work(images, framed);
        }
    }

    /// Writes the plane `x` with its border.
    fn fill<T: Product>(&self, x: &[T], out: &mut [T]) {
        let ([height, width], [above, left]) = (self.size, self.before);
        let inside = height.min(self.rows.saturating_sub(above));
        out[..above.min(self.rows) * self.pitch].fill(T::ZERO);
        out[(above + inside).min(self.rows) * self.pitch..].fill(T::ZERO);
        let part = self.pitch / self.phases;
        for row in 0..inside {
            let line = &x[row * width..][..width];
            let out = &mut out[(above + row) * self.pitch..][..self.pitch];
            if self.phases == 1 {
                let count = width.min(self.pitch.saturating_sub(left));
                let start = left.min(self.pitch);
                out[..start].fill(T::ZERO);
                out[start..start + count].copy_from_slice(&line[..count]);
                out[start + count..].fill(T::ZERO);
            } else {
                for (phase, out) in out.chunks_exact_mut(part).enumerate() {
                    for (j, out) in out.iter_mut().enumerate() {
                        let column = (j * self.phases + phase).checked_sub(left);
                        let value = column.and_then(|column| line.get(column));
                        *out = value.copied().unwrap_or(T::ZERO);
                    }
                }
            }
        }
    }
}
