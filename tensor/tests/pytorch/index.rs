//! Picking, scattering, padding, rolling and sequences: `fixtures/index.py`.

use kiln_tensor::grid::affine_grid_2d;
use kiln_tensor::{Bool, Device, Float, IndexingUpdateOp, Int, PadMode, Tensor, s};

use crate::fixture::{Fixture, SHORT, load};

static TORCH: Fixture = Fixture::new(|| load(include_bytes!("../fixtures/index.safetensors")));

#[test]
fn picking() {
    let x = TORCH.get::<3, Float>("x");
    TORCH.same("gather", x.gather(1, TORCH.get("index")).as_any());
    TORCH.same("index_select", x.select(-1, TORCH.get("row")).as_any());
    let indices = Tensor::<2, Int>::from([[3, 0], [1, 1]]);
    TORCH.same("take", x.take::<2, 4>(1, indices).as_any());
    TORCH.same("gather_nd", x.gather_nd::<2, 2>(TORCH.get("nd")).as_any());
}

#[test]
fn scattering() {
    use IndexingUpdateOp::*;
    let (x, values) = (TORCH.get::<3, Float>("x"), TORCH.get::<3, Float>("values"));
    let index = TORCH.get::<3, Int>("index");
    for (name, update) in [("add", Add), ("prod", Mul), ("amin", Min), ("amax", Max)] {
        let y = x.scatter(1, &index, &values, update);
        TORCH.near(&format!("scatter_{name}"), y.as_any(), SHORT);
    }
    TORCH.near("scatter_add", x.scatter_add(1, &index, &values).as_any(), SHORT);
    let once = TORCH.get::<3, Int>("once");
    TORCH.same("scatter", x.scatter(1, &once, values.slice(s![.., ..3]), Assign).as_any());
    let (once, part) = (once.slice(s![..2, .., ..2]), values.slice(s![..2, ..3, ..2]));
    TORCH.same("scatter_part", x.scatter(1, once, part, Assign).as_any());
    let (row, rows) = (TORCH.get::<1, Int>("row"), TORCH.get::<3, Float>("rows"));
    TORCH.near("index_add", x.index_add(2, row, &rows).as_any(), SHORT);
    let row = Tensor::<1, Int>::from([4, 0, 3, 1]);
    TORCH.same("index_copy", x.index_copy(2, row, rows).as_any());
    TORCH.same("index_fill", x.index_fill(1, Tensor::from([3, 1]), -7.0).as_any());
    let values = values.slice(s![0, ..4]).reshape([4, 5]);
    TORCH.near("scatter_nd", x.scatter_nd(TORCH.get::<2, Int>("nd"), values, Add).as_any(), SHORT);
    let mask = TORCH.get::<3, Bool>("mask");
    TORCH.same("masked_fill", x.mask_fill(mask, f64::NEG_INFINITY).as_any());
    let assigned = x.slice_assign(s![.., 1..4;2, ..;2], TORCH.get::<3, Float>("part"));
    TORCH.same("slice_assign", assigned.as_any());
}

#[test]
fn padding() {
    let x = TORCH.get::<3, Float>("x");
    TORCH.same("pad.reflect", x.pad((4, 2, 1, 3), PadMode::Reflect).as_any());
    TORCH.same("pad.replicate", x.pad((7, 0, 2, 9), PadMode::Edge).as_any());
    TORCH.same("pad.circular", x.pad([(0, 4), (5, 1)], PadMode::Circular).as_any());
    TORCH.same("pad.constant", x.pad([(3, 0), (0, 1), (1, 2)], 0.1).as_any());
}

#[test]
fn turning_and_repeating() {
    let x = TORCH.get::<3, Float>("x");
    TORCH.same("roll", x.roll([2, -7, 11], [0, 1, 2]).as_any());
    TORCH.same("rot90", x.rot90(1, [0, 2]).as_any());
    TORCH.same("rot270", x.rot90(-1, [1, 2]).as_any());
    TORCH.same("movedim", x.movedim([0, 1], [1, 2]).as_any());
    TORCH.same("unfold", x.unfold::<4, _>(2, 3, 2).as_any());
    TORCH.same("tile", x.tile([2, 1, 3]).as_any());
}

#[test]
fn triangles_and_diagonals() {
    let x = TORCH.get::<3, Float>("x");
    for k in [-3, -1, 0, 2, 7] {
        TORCH.same(&format!("triu.{k}"), x.triu(k).as_any());
        TORCH.same(&format!("tril.{k}"), x.tril(k).as_any());
        TORCH.same(&format!("diagonal.{k}"), x.diagonal::<2>(k, 2, 1).as_any());
    }
    TORCH.same("diag_embed", x.diag_embed::<4>(-2, 0, 2).as_any());
    TORCH.same("diag_embed.plain", x.diag_embed::<4>(0, -2, -1).as_any());
    let part = |range: kiln_tensor::Slice, shape: [usize; 2]| x.slice(range).reshape(shape);
    let blocks = [
        part(s![0], [4, 5]),
        x.slice(s![1, ..2]).reshape([2, 5]),
        x.slice(s![2, .., ..1]).reshape([4, 1]),
    ];
    TORCH.same("block_diag", Tensor::block_diag(blocks).as_any());
}

#[test]
fn sequences() {
    let device = Device::cpu();
    for (name, start, end, steps) in [
        ("one", 3.0, 9.0, 1),
        ("two", 3.0, 9.0, 2),
        ("odd", -1.0, 2.0, 7),
        ("even", 0.1, -5.3, 10),
        ("long", 0.0, 1.0, 1001),
    ] {
        let x = Tensor::<1>::linspace(start, end, steps, &device);
        TORCH.near(&format!("linspace.{name}"), x.as_any(), SHORT);
    }
    let powers = Tensor::<1>::logspace(-2.5, 3.0, 9, 10.0, &device);
    TORCH.near("logspace", powers.as_any(), SHORT);
    let powers = Tensor::<1>::logspace(0.0, 8.0, 9, 2.0, &device);
    TORCH.near("logspace.two", powers.as_any(), SHORT);
    TORCH.near("arange", Tensor::<1>::arange_float(-1.0, 2.3, 0.3, &device).as_any(), SHORT);
    let index = TORCH.get::<3, Int>("index").slice(0..1).reshape([6, 5]);
    TORCH.same("one_hot", index.one_hot::<3>(6).as_any());
    let theta = TORCH.get::<3, Float>("theta");
    TORCH.near("affine_grid", affine_grid_2d(&theta, [2, 1, 4, 3]).as_any(), SHORT);
    TORCH.near("affine_grid.line", affine_grid_2d(&theta, [2, 1, 1, 3]).as_any(), SHORT);
}
