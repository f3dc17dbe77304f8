//! Instruction sets, chosen when the program runs.
//!
//! A kernel is a plain loop written to vectorise. It implements [`Kernel`], and [`dispatch`]
//! compiles it once for every [`Isa`] and calls the best one that this processor has. A build
//! without any `target-cpu` flag is therefore fast everywhere.

/// What a kernel may ask of the instruction set that it is being compiled for.
pub trait Isa: Copy + Send + Sync + 'static {
    /// Elements of an `f32` vector register.
    const F32_LANES: usize;
    /// `a * b + c`, rounded once where the hardware can do so and twice where it can not
    /// (`f32::mul_add` would call a slow library routine there).
    fn mul_add_f32(a: f32, b: f32, c: f32) -> f32;
    /// As [`Isa::mul_add_f32`], in double precision.
    fn mul_add_f64(a: f64, b: f64, c: f64) -> f64;
}

/// A loop to be compiled for every instruction set. `run` must be `#[inline(always)]`, and so must
/// everything that it calls in its inner loop: only code inlined into the caller is compiled for
/// the caller's instruction set.
pub trait Kernel {
    /// What the kernel returns.
    type Output;
    /// The loop.
    fn run<I: Isa>(self) -> Self::Output;
}

macro_rules! isa {
    ($(#[$doc:meta])* $name:ident, $lanes:literal, fused: $fused:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl Isa for $name {
            const F32_LANES: usize = $lanes;
            #[inline(always)]
            fn mul_add_f32(a: f32, b: f32, c: f32) -> f32 {
                if $fused { a.mul_add(b, c) } else { a * b + c }
            }
            #[inline(always)]
            fn mul_add_f64(a: f64, b: f64, c: f64) -> f64 {
                if $fused { a.mul_add(b, c) } else { a * b + c }
            }
        }
    };
}

#[cfg(target_arch = "aarch64")]
isa!(
    /// What every 64-bit Arm processor has: NEON with fused multiply-add.
    Baseline, 4, fused: true
);
#[cfg(not(target_arch = "aarch64"))]
isa!(
    /// What every processor of the target has (SSE2 on x86-64).
    Baseline, 4, fused: false
);
#[cfg(target_arch = "x86_64")]
isa!(
    /// AVX2 and FMA: Intel since 2013, AMD since 2017.
    Avx2, 8, fused: true
);
#[cfg(target_arch = "x86_64")]
isa!(
    /// AVX-512 F, BW, DQ and VL: Intel servers since 2017, AMD since 2022.
    Avx512, 16, fused: true
);

/// The instruction sets in rising order; `0` is `Baseline`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// What every processor of the target has.
    Baseline = 0,
    /// AVX2 and FMA.
    Avx2 = 1,
    /// AVX-512.
    Avx512 = 2,
}

/// The best instruction set of this processor; `KILN_ISA=baseline|avx2|avx512` lowers it.
#[inline]
pub fn level() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        use std::sync::atomic::{AtomicU8, Ordering};
        const UNKNOWN: u8 = u8::MAX;
        static LEVEL: AtomicU8 = AtomicU8::new(UNKNOWN);
        match LEVEL.load(Ordering::Relaxed) {
            0 => Level::Baseline,
            1 => Level::Avx2,
            2 => Level::Avx512,
            _ => {
                let level = detect();
                LEVEL.store(level as u8, Ordering::Relaxed);
                level
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    Level::Baseline
}

#[cfg(target_arch = "x86_64")]
#[cold]
fn detect() -> Level {
    let best = if is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("fma")
    {
        Level::Avx512
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        Level::Avx2
    } else {
        Level::Baseline
    };
    match std::env::var("KILN_ISA").as_deref() {
        Ok("baseline") => Level::Baseline,
        Ok("avx2") => best.min(Level::Avx2),
        _ => best,
    }
}

/// Runs `kernel` compiled for the best instruction set of this processor.
#[inline]
pub fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        fn avx2<K: Kernel>(kernel: K) -> K::Output {
            kernel.run::<Avx2>()
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        fn avx512<K: Kernel>(kernel: K) -> K::Output {
            kernel.run::<Avx512>()
        }
        match level() {
            // SAFETY: `level` returns a set only after the processor reported all its features.
            Level::Avx512 => unsafe { avx512(kernel) },
            // SAFETY: as above.
            Level::Avx2 => unsafe { avx2(kernel) },
            Level::Baseline => kernel.run::<Baseline>(),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    kernel.run::<Baseline>()
}
