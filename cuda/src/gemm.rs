//! Matrix products as cuBLASLt sees them, whose matrices are column-major: functions of shapes,
//! strides and addresses alone.
//!
//! A row-major matrix is the transpose of a column-major one at the same place. So the row-major
//! `y = a b`, `[m, k]` by `[k, n]`, is computed as `y^T = b^T a^T`: the right factor comes first, and
//! the bias, one number for each column of `y`, is one for each row of `y^T`, as the library wants it.

use kiln_tensor::DType;

/// A batch of products `D = epilogue(A B + bias)` of column-major matrices: everything that decides
/// which algorithm computes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gemm {
    /// The type of all elements. Halves are added up in f32.
    pub dtype: DType,
    /// Whether factors of f32 may be rounded to 10 bits of mantissa.
    pub tf32: bool,
    /// Rows of A and D.
    pub m: usize,
    /// Columns of B and D.
    pub n: usize,
    /// Columns of A and rows of B.
    pub k: usize,
    /// How A lies in memory.
    pub a: Factor,
    /// How B lies in memory.
    pub b: Factor,
    /// How many products; D follows D without a gap.
    pub batch: usize,
    /// What is done to each element.
    pub epilogue: Epilogue,
    /// Bytes that the addresses of A, B, D and the vector are multiples of, 256 at most.
    pub alignment: [u32; 4],
}

/// How a factor lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Factor {
    /// Whether what lies there is the transpose of the factor.
    pub transposed: bool,
    /// Elements from one column of what lies there to the next.
    pub leading: usize,
    /// Elements from one matrix of the batch to the next.
    pub step: usize,
}

/// What the library does to each element of a product, or beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Epilogue {
    /// Whether a bias is added, one number for each row of D.
    pub bias: bool,
    /// What is applied at the end.
    pub activation: Option<GemmActivation>,
    /// Whether each column of B is summed, instead of bias and activation: the gradient of a bias.
    pub sums: bool,
}

/// The activations that the library has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GemmActivation {
    /// `max(x, 0)`.
    Relu,
    /// GELU in the form with the hyperbolic tangent.
    GeluTanh,
}

/// Where the matrices of a product are.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The first factor.
    pub a: u64,
    /// The second factor.
    pub b: u64,
    /// The result.
    pub d: u64,
    /// The bias that is read or the sums that are written, if there are any.
    pub vector: u64,
}

/// A row-major view of a matrix in a batch: extents, strides, and elements from one to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix {
    pub rows: usize,
    pub columns: usize,
    pub row_stride: i64,
    pub column_stride: i64,
    pub step: i64,
}

impl Matrix {
    /// As a factor of a column-major product, that is, transposed. None if neither rows nor columns
    /// lie without gaps, or if they overlap.
    fn factor(&self) -> Option<Factor> {
        let step = usize::try_from(self.step).ok()?;
        // Of what has one entry, the stride means nothing.
        let has_rows = self.columns == 1 || self.column_stride == 1;
        let has_columns = self.rows == 1 || self.row_stride == 1;
        let (transposed, stride, extent, others) = match (has_rows, has_columns) {
            (true, _) => (false, self.row_stride, self.columns, self.rows),
            (false, true) => (true, self.column_stride, self.rows, self.columns),
            _ => return None,
        };
        let leading = if others == 1 { extent } else { usize::try_from(stride).ok()? };
        (leading >= extent).then_some(Factor { transposed, leading, step })
    }
}

/// The product `y = left right` of batches of row-major matrices, where `y` lies without gaps. None
/// if the library can not read the factors where they lie. Without the alignment.
pub(crate) fn gemm(
    dtype: DType,
    [left, right]: [Matrix; 2],
    batch: usize,
    epilogue: Epilogue,
) -> Option<Gemm> {
    // One right factor for all: the left ones are one tall matrix where they lie below each other.
    let below = left.rows == 1 || left.step == left.rows as i64 * left.row_stride;
    let tall = (batch > 1 && right.step == 0 && below).then(|| {
        let row_stride = if left.rows == 1 { left.step } else { left.row_stride };
        Matrix { rows: left.rows * batch, row_stride, step: 0, ..left }
    });
    let (left, b, batch) = match tall.and_then(|tall| Some((tall, tall.factor()?))) {
        Some((tall, factor)) => (tall, factor, 1),
        None => (left, left.factor()?, batch),
    };
    let (m, n, k) = (right.columns, left.rows, left.columns);
    if i32::try_from(batch).is_err() || [m, n, k, batch].contains(&0) {
        return None;
    }
    let a = right.factor()?;
    // Columns of B are summed only where they lie as rows.
    if epilogue.sums && !b.transposed {
        return None;
    }
    let alignment = [256; 4];
    Some(Gemm { dtype, tf32: false, m, n, k, a, b, batch, epilogue, alignment })
}

/// The largest power of two up to 256 that divides an address.
pub(crate) fn alignment(address: u64) -> u32 {
    1 << (address | 256).trailing_zeros()
}

/// Bytes that algorithms of the library may use for themselves: what NVIDIA advises for Hopper and
/// later, and for what came before.
pub(crate) fn workspace_bytes(capability: (u32, u32)) -> usize {
    if capability >= (9, 0) { 32 << 20 } else { 4 << 20 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the library would compute, from its documentation: elements are numbers of a list.
    fn library(gemm: &Gemm, a: &[i64], b: &[i64]) -> Vec<i64> {
        let Gemm { m, n, k, batch, .. } = *gemm;
        let mut d = vec![0; m * n * batch];
        let at = |x: &[i64], factor: Factor, number: usize, row: usize, column: usize| {
            let (row, column) = if factor.transposed { (column, row) } else { (row, column) };
            x[number * factor.step + column * factor.leading + row]
        };
        for number in 0..batch {
            for column in 0..n {
                for row in 0..m {
                    let terms = (0..k)
                        .map(|i| at(a, gemm.a, number, row, i) * at(b, gemm.b, number, i, column));
                    d[number * m * n + column * m + row] = terms.sum();
                }
            }
        }
        d
    }

    /// A batch of matrices in memory.
    #[derive(Debug, Clone)]
    struct Stored {
        matrix: Matrix,
        memory: Vec<i64>,
    }

    impl Stored {
        fn get(&self, number: usize, row: usize, column: usize) -> i64 {
            let Matrix { row_stride, column_stride, step, .. } = self.matrix;
            let at = number as i64 * step + row as i64 * row_stride + column as i64 * column_stride;
            self.memory[at as usize]
        }
    }

    fn stored(
        rows: usize,
        columns: usize,
        batch: usize,
        (turned, gap, apart, one): (bool, usize, usize, bool),
    ) -> Stored {
        let (inner, outer) = if turned { (rows, columns) } else { (columns, rows) };
        let leading = inner + gap;
        let step = if one { 0 } else { outer * leading + apart };
        let (row_stride, column_stride) = if turned { (1, leading) } else { (leading, 1) };
        let matrix = Matrix {
            rows,
            columns,
            row_stride: row_stride as i64,
            column_stride: column_stride as i64,
            step: step as i64,
        };
        let memory =
            (0..(batch * step + outer * leading) as i64).map(|i| i * 7 % 23 - 11).collect();
        Stored { matrix, memory }
    }

    fn layout() -> impl Strategy<Value = (bool, usize, usize, bool)> {
        (any::<bool>(), 0usize..3, prop_oneof![Just(0usize), 1usize..4], any::<bool>())
    }

    proptest! {
        /// Whatever way the factors lie, the library's product is the row-major one.
        #[test]
        fn the_library_computes_the_row_major_product(
            (m, n, k, batch) in (1usize..5, 1usize..5, 1usize..5, 1usize..4),
            left in layout(),
            right in layout(),
        ) {
            let left = stored(m, k, batch, left);
            let right = stored(k, n, batch, right);
            let gemm = gemm(DType::F32, [left.matrix, right.matrix], batch, Epilogue::default());
            let gemm = gemm.expect("rows or columns lie without gaps");
            let product = library(&gemm, &right.memory, &left.memory);
            for number in 0..batch {
                for row in 0..m {
                    for column in 0..n {
                        let terms = (0..k).map(|i| left.get(number, row, i) * right.get(number, i, column));
                        let expected: i64 = terms.sum();
                        prop_assert_eq!(product[(number * m + row) * n + column], expected);
                    }
                }
            }
            // What the library demands of its matrices.
            let extent = |f: Factor, rows, columns| if f.transposed { columns } else { rows };
            prop_assert!(gemm.a.leading >= extent(gemm.a, gemm.m, gemm.k));
            prop_assert!(gemm.b.leading >= extent(gemm.b, gemm.k, gemm.n));
            // A batch that shares the right factor and lies together is one product.
            let together = left.matrix.column_stride == 1
                && left.matrix.step == m as i64 * left.matrix.row_stride;
            prop_assert!(gemm.batch == 1 || right.matrix.step != 0 || !together);
        }

        #[test]
        fn an_alignment_divides_the_address(address in any::<u64>()) {
            let bytes = u64::from(alignment(address));
            prop_assert!(bytes.is_power_of_two() && bytes <= 256 && address.is_multiple_of(bytes));
            prop_assert!(bytes == 256 || !address.is_multiple_of(2 * bytes));
        }
    }

    #[test]
    fn what_the_library_can_not_read_is_refused() {
        let fine = Matrix { rows: 3, columns: 4, row_stride: 4, column_stride: 1, step: 12 };
        let right = Matrix { rows: 4, columns: 3, row_stride: 3, column_stride: 1, step: 12 };
        let product =
            |left: Matrix, batch| gemm(DType::F32, [left, right], batch, Epilogue::default());
        assert!(product(fine, 2).is_some());
        // Every second column, overlapping windows, rows backwards, a batch backwards.
        assert_eq!(product(Matrix { row_stride: 8, column_stride: 2, ..fine }, 2), None);
        assert_eq!(product(Matrix { row_stride: 1, column_stride: 1, ..fine }, 2), None);
        assert_eq!(product(Matrix { row_stride: -4, ..fine }, 2), None);
        assert_eq!(product(Matrix { step: -12, ..fine }, 2), None);
        // Nothing to add up, and more than the library counts.
        assert_eq!(product(Matrix { rows: 0, ..fine }, 2), None);
        assert_eq!(product(fine, 0), None);
        assert_eq!(product(fine, 1 << 31), None);
    }

    #[test]
    fn a_linear_layer_is_one_product() {
        // [8, 16, 32] by the transpose of a weight [64, 32].
        let x = Matrix { rows: 16, columns: 32, row_stride: 32, column_stride: 1, step: 512 };
        let weight = Matrix { rows: 32, columns: 64, row_stride: 1, column_stride: 32, step: 0 };
        let gemm = gemm(DType::BF16, [x, weight], 8, Epilogue::default()).unwrap();
        assert_eq!((gemm.m, gemm.n, gemm.k, gemm.batch), (64, 128, 32, 1));
        assert_eq!(gemm.a, Factor { transposed: true, leading: 32, step: 0 });
        assert_eq!(gemm.b, Factor { transposed: false, leading: 32, step: 0 });
    }

    #[test]
    fn a_gradient_is_summed_where_it_lies() {
        // The gradient of a result [128, 64], transposed, by the input [128, 32].
        let gradient = Matrix { rows: 64, columns: 128, row_stride: 1, column_stride: 64, step: 0 };
        let input = Matrix { rows: 128, columns: 32, row_stride: 32, column_stride: 1, step: 0 };
        let sums = Epilogue { sums: true, ..Epilogue::default() };
        let product = gemm(DType::BF16, [gradient, input], 1, sums).unwrap();
        assert_eq!((product.m, product.n, product.k), (32, 64, 128));
        assert!(product.b.transposed && product.epilogue == sums);
        let rows = Matrix { row_stride: 128, column_stride: 1, ..gradient };
        assert_eq!(gemm(DType::BF16, [rows, input], 1, sums), None);
    }

    #[test]
    fn hopper_gets_the_larger_workspace() {
        assert_eq!(
            [(7, 5), (8, 6), (9, 0), (12, 0)].map(workspace_bytes).map(|b| b >> 20),
            [4, 4, 32, 32]
        );
    }
}
