//! The kernels of the products, by class.
//!
//! Products are all that makes one class differ from another: `gemm` sums them as the processor's
//! vectors allow, and multiplies and adds in one rounding where it can. The element-wise loops have
//! the same bits with any vectors: each keeps its order of summing, and a compiler may not change it.
//!
//! `gemm` also sums long products in parts, whose length it takes from the size of the first-level
//! cache. No product that reaches it here is longer than the shortest part, so that processors of
//! one class agree whatever their caches.
#![expect(unsafe_code, reason = "gemm takes pointers")]

use std::cell::Cell;
use std::sync::LazyLock;

use federation::KernelClass;
use gemm_common::Parallelism;
use gemm_common::gemm::gemm_basic_generic;
use gemm_common::simd::MixedSimd;

/// Terms of a sum that `gemm` adds in one part on every processor. It makes parts longer where the
/// cache has room, and never shorter.
const DEPTH: usize = 512;

/// The kernels of a class that this processor can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernels(KernelClass);

thread_local! {
    /// What the thread computes with. Every product asks, and none of those who call for one has
    /// any other use for it.
    static CURRENT: Cell<Option<Kernels>> = const { Cell::new(None) };
}

static NATIVE: LazyLock<Kernels> = LazyLock::new(|| {
    let native = Kernels::available().next();
    native.unwrap_or(Kernels(KernelClass::Portable))
});

impl Kernels {
    /// Those that this processor can run, the fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        let all = KernelClass::ALL.into_iter();
        all.filter(|class| is_available(*class)).map(Self)
    }

    /// Those that are in use where none are asked for: the fastest.
    #[must_use]
    pub fn native() -> Self {
        *NATIVE
    }

    /// Those of `class`, if this processor can run them.
    #[must_use]
    pub fn of(class: KernelClass) -> Option<Self> {
        is_available(class).then_some(Self(class))
    }

    /// Their class.
    #[must_use]
    pub fn class(self) -> KernelClass {
        self.0
    }

    /// Does `work` with these kernels, on this thread and on those of the engine that help it.
    pub fn run<R>(self, work: impl FnOnce() -> R) -> R {
        /// Puts back what was there, also when the work panics.
        struct Restore(Option<Kernels>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        let _restore = Restore(CURRENT.replace(Some(self)));
        work()
    }

    /// Those that this thread computes with.
    pub(super) fn current() -> Self {
        CURRENT.get().unwrap_or_else(Self::native)
    }
}

#[cfg(target_arch = "x86_64")]
fn is_available(class: KernelClass) -> bool {
    use gemm_common::simd::{V3, V4};
    match class {
        KernelClass::X86_64V4 => V4::is_available(),
        KernelClass::X86_64V3 => V3::is_available(),
        KernelClass::Aarch64 => false,
        KernelClass::Portable => true,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn is_available(class: KernelClass) -> bool {
    match class {
        KernelClass::X86_64V4 | KernelClass::X86_64V3 => false,
        KernelClass::Aarch64 => cfg!(target_arch = "aarch64"),
        KernelClass::Portable => true,
    }
}

/// An operand of a product: where it begins, and how far apart its rows and columns are.
#[derive(Clone, Copy)]
pub(super) struct Operand {
    pub(super) start: *const f32,
    pub(super) row_stride: isize,
    pub(super) column_stride: isize,
}

/// A product: `rows × depth` times `depth × columns`, into rows that begin `stride` apart.
pub(super) struct Product {
    pub(super) rows: usize,
    pub(super) depth: usize,
    pub(super) columns: usize,
    pub(super) start: *mut f32,
    pub(super) stride: isize,
    pub(super) left: Operand,
    pub(super) right: Operand,
    /// Whether it is added to what is there.
    pub(super) add: bool,
}

impl Product {
    /// Computes it, in equal parts of at most [`DEPTH`] terms.
    ///
    /// # Safety
    ///
    /// Every element of both operands can be read and every one of the product written, and none is
    /// both.
    pub(super) unsafe fn compute(mut self, kernels: Kernels) {
        let parts = self.depth.div_ceil(DEPTH).max(1);
        let part = self.depth.div_ceil(parts);
        let mut rest = self.depth;
        loop {
            self.depth = rest.min(part);
            // SAFETY: by this function's own condition; a part's terms are among all of them.
            unsafe { self.compute_part(kernels) };
            rest -= self.depth;
            if rest == 0 {
                return;
            }
            let terms = self.depth.cast_signed();
            let Self { left, right, .. } = &mut self;
            left.start = left.start.wrapping_offset(terms * left.column_stride);
            right.start = right.start.wrapping_offset(terms * right.row_stride);
            self.add = true;
        }
    }

    #[cfg(target_arch = "x86_64")]
    unsafe fn compute_part(&self, kernels: Kernels) {
        // SAFETY: by the caller's promise; kernels exist only where they are available.
        unsafe {
            match kernels.0 {
                KernelClass::X86_64V4 => self.with_v4(),
                KernelClass::X86_64V3 => self.with_v3(),
                KernelClass::Aarch64 | KernelClass::Portable => self.portably(),
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    unsafe fn compute_part(&self, kernels: Kernels) {
        // SAFETY: by the caller's promise.
        unsafe {
            match kernels.0 {
                KernelClass::Aarch64 => self.with_neon(),
                _ => self.portably(),
            }
        }
    }
}

/// A method that computes a part with the kernels of one of `gemm`'s modules. What `gemm` itself
/// calls is the same function, but only with the kernels that it chooses for the whole process.
macro_rules! with {
    ($name: ident, $module: ident, $simd: ident, $lanes: expr) => {
        #[inline(never)]
        unsafe fn $name(&self) {
            use gemm_f32::microkernel::$module::f32::{H_M, H_N, H_UKR, MR_DIV_N, NR, UKR};
            let Self {
                rows,
                columns,
                depth,
                start,
                stride,
                left,
                right,
                add,
            } = *self;
            // Its kernels write columns. Rows that lie apart are the columns of the transposed
            // product.
            let is_transposed = stride.unsigned_abs() > 1;
            let (m, n, rs, cs, lhs, rhs) = if is_transposed {
                (
                    columns,
                    rows,
                    1,
                    stride,
                    right.transposed(),
                    left.transposed(),
                )
            } else {
                (rows, columns, stride, 1, left, right)
            };
            let Some(simd) = <gemm_common::simd::$simd as MixedSimd<f32, f32, f32, f32>>::try_new()
            else {
                unreachable!("kernels exist only where they are available");
            };
            // SAFETY: by the caller's promise; exchanging both sides' rows and columns reads and
            // writes the same elements.
            unsafe {
                gemm_basic_generic::<_, f32, $lanes, { MR_DIV_N * $lanes }, NR, MR_DIV_N, H_M, H_N>(
                    simd,
                    m,
                    n,
                    depth,
                    start,
                    cs,
                    rs,
                    add,
                    lhs.start,
                    lhs.column_stride,
                    lhs.row_stride,
                    rhs.start,
                    rhs.column_stride,
                    rhs.row_stride,
                    if add { 1.0 } else { 0.0 },
                    1.0,
                    false,
                    false,
                    false,
                    |a, b, c| a * b + c,
                    &UKR,
                    &H_UKR,
                    false,
                    Parallelism::None,
                );
            }
        }
    };
}

impl Product {
    with!(portably, scalar, Scalar, 1);

    #[cfg(target_arch = "x86_64")]
    with!(with_v3, fma, V3, 8);

    #[cfg(target_arch = "x86_64")]
    with!(with_v4, avx512f, V4, 16);

    #[cfg(target_arch = "aarch64")]
    with!(with_neon, neon, Scalar, 4);

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    unsafe fn with_neon(&self) {
        // SAFETY: by the caller's promise.
        unsafe { self.portably() }
    }
}

impl Operand {
    fn transposed(self) -> Self {
        Self {
            start: self.start,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}
