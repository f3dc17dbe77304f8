//! The finder of batch sizes. Alone in its process, as the memory of all threads counts.

use kiln::prelude::*;
use kiln::train::{BatchSize, BatchSizeFinderConfig, Step};
use kiln::{Error, Result};

/// Looks for a batch of rows of 256 numbers for a small network.
fn find(config: &BatchSizeFinderConfig) -> (Result<BatchSize>, bool) {
    let device = Device::cpu();
    let mut model = Sequential::new()
        .add(LinearConfig::new(256, 256).init(&device))
        .add(DropoutConfig::new(0.5).init())
        .add(LinearConfig::new(256, 2).init(&device));
    let mut optim = AdamConfig::new(0.1).init();
    let bits = |state: StateDict| {
        let entries = state.iter().map(|(path, data)| (path.to_string(), data.bytes().to_vec()));
        entries.collect::<Vec<_>>()
    };
    let before = (bits(model.state_dict()), bits(optim.state_dict()), device.generator());
    let batch = |size| Ok(Tensor::<2>::ones([size, 256], &device));
    let found = config.run(&mut model, &mut optim, batch, |model, batch| {
        let y: Tensor<2> = model.forward(batch);
        Step::new(y.square().mean())
    });
    let after = (bits(model.state_dict()), bits(optim.state_dict()), device.generator());
    (found, before == after)
}

// One test, for the same reason.
#[test]
fn the_largest_batch_that_fits_is_found() {
    let bytes = 8 << 20;
    let (found, unchanged) = find(&BatchSizeFinderConfig::new(bytes));
    let found = found.unwrap();
    assert!(unchanged, "model, optimizer and random numbers are as before");
    assert!(found.bytes <= bytes && found.bytes > bytes * 9 / 10, "{found:?}");
    let held = |size| found.tried.iter().find(|(tried, _)| *tried == size).map(|(_, held)| *held);
    assert_eq!(held(found.size), Some(Some(found.bytes)));
    let more = held(found.size + 1).expect("one more was tried");
    assert!(more.is_none_or(|held| held > bytes), "{found:?}");
    assert!(found.tried.len() < 30, "{found:?}");
    let most = found.tried.iter().filter_map(|(_, held)| *held).max();
    assert!(most < Some(bytes * 5 / 4), "none needed much more: {found:?}");

    let power = find(&BatchSizeFinderConfig::new(bytes).with_power_of_two(true)).0.unwrap();
    assert!(power.size.is_power_of_two() && power.size <= found.size, "{power:?} {found:?}");
    assert!(2 * power.size > found.size, "{power:?} {found:?}");

    let capped = find(&BatchSizeFinderConfig::new(bytes).with_max_size(37)).0.unwrap();
    assert_eq!(capped.size, 37);

    let (none, unchanged) = find(&BatchSizeFinderConfig::new(1000).with_min_size(4));
    let text = none.unwrap_err().to_string();
    assert!(unchanged && text.contains("a batch of 4 needs") && text.contains("1000"), "{text}");
    let wrong = find(&BatchSizeFinderConfig::new(bytes).with_min_size(0)).0;
    assert!(matches!(wrong, Err(Error::Argument { .. })));
}
