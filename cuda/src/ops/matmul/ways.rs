//! Who multiplies.

use kiln_tensor::DType;

/// What can compute a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// cuBLASLt, where it is installed and can read the factors where they lie.
    Library,
    /// `matmul_mma.cu`: halves on tensor cores, any strides, any activation in the epilogue.
    TensorCores,
    /// `matmul.cu`: any type and strides, any activation in the epilogue.
    Tiles,
}

/// When a way is taken.
struct Row {
    dtypes: &'static [DType],
    /// The first architecture: major and minor.
    since: (u32, u32),
    /// Multiplications of one product, at least.
    work: u64,
    way: Way,
}

const SMALL: u64 = 1 << 15; // 32 x 32 x 32
const MEDIUM: u64 = 1 << 21; // 128 x 128 x 128

/// How products are computed: the first row that fits, or the next one where its way can not.
///
/// The sizes are estimates, which no GPU has confirmed: below them the choice of a plan would cost
/// more than the library saves. `mma.sync` takes 16 x 16 of both halves from Ampere on, where bf16
/// began as well.
const WAYS: [Row; 6] = {
    use DType::{BF16, Complex64, Complex128, F16, F32, F64};
    use Way::{Library, TensorCores, Tiles};
    [
        Row { dtypes: &[F16, BF16], since: (8, 0), work: MEDIUM, way: Library },
        Row { dtypes: &[F16, BF16], since: (8, 0), work: 0, way: TensorCores },
        Row { dtypes: &[F16], since: (7, 5), work: SMALL, way: Library },
        Row { dtypes: &[F32, F64], since: (7, 5), work: SMALL, way: Library },
        Row { dtypes: &[Complex64, Complex128], since: (7, 5), work: 0, way: Library },
        Row {
            dtypes: &[F16, BF16, F32, F64, Complex64, Complex128],
            since: (7, 5),
            work: 0,
            way: Tiles,
        },
    ]
};

/// The ways for a product, the best first.
pub(super) fn ways(dtype: DType, capability: (u32, u32), work: u64) -> impl Iterator<Item = Way> {
    let fits = move |row: &&Row| {
        row.dtypes.contains(&dtype) && capability >= row.since && work >= row.work
    };
    WAYS.iter().filter(fits).map(|row| row.way)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_ways_says_who_multiplies() {
        use Way::*;
        let large = 1 << 30;
        for (dtype, capability, work, expected) in [
            (DType::F16, (7, 5), large, &[Library, Tiles][..]),
            (DType::BF16, (7, 5), large, &[Tiles]),
            (DType::F16, (8, 0), large, &[Library, TensorCores, Library, Tiles]),
            (DType::BF16, (9, 0), large, &[Library, TensorCores, Tiles]),
            (DType::BF16, (9, 0), 1000, &[TensorCores, Tiles]),
            (DType::F32, (8, 6), large, &[Library, Tiles]),
            (DType::F64, (8, 6), 1000, &[Tiles]),
            (DType::Complex64, (8, 9), 1, &[Library, Tiles]),
            (DType::I32, (9, 0), large, &[]),
        ] {
            let found: Vec<Way> = ways(dtype, capability, work).collect();
            assert_eq!(found, expected, "{dtype} {capability:?} {work}");
        }
    }

    /// Whatever the library refuses, a kernel of this crate takes.
    #[test]
    fn the_last_way_is_always_one_of_our_own() {
        let floats = DType::ALL.into_iter().filter(|dtype| dtype.is_float() || dtype.is_complex());
        for dtype in floats {
            for capability in [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (12, 0)] {
                for work in [1, SMALL, MEDIUM, u64::MAX] {
                    assert_eq!(ways(dtype, capability, work).last(), Some(Way::Tiles), "{dtype}");
                }
            }
        }
    }
}
