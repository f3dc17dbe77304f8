//! Pictures in folders.

use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, Rgb, Rgba};
use kiln::data::{DataLoaderBuilder, Dataset, ImageFolder, Stack};
use kiln::prelude::*;
use proptest::prelude::*;

use crate::Folder;

fn encode(picture: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Two rows and three columns; red counts the columns, green the rows, blue is full.
fn colours() -> DynamicImage {
    ImageBuffer::from_fn(3, 2, |x, y| Rgb([x as u8, 10 * y as u8, 255])).into()
}

#[test]
fn classes_and_pictures_come_in_the_order_of_their_names() {
    let folder = Folder::new("images");
    let png = encode(colours(), ImageFormat::Png);
    let names = ["dog/b.PNG", "dog/a.png", "cat/deep/z.png", "cat/x.png", "dog/notes.txt"];
    for name in names {
        folder.file(name, &png);
    }
    folder.file("README.md", "no class");
    let images = ImageFolder::open(&folder.0).unwrap();
    assert_eq!(images.classes(), ["cat", "dog"]);
    assert_eq!(images.targets(), [0, 0, 1, 1]);
    let paths: Vec<_> = images.paths().map(|path| path.strip_prefix(&folder.0).unwrap()).collect();
    let expected = ["cat/deep/z.png", "cat/x.png", "dog/a.png", "dog/b.PNG"];
    assert_eq!(paths, expected.map(std::path::Path::new));
    let (picture, class) = images.get(2).unwrap();
    assert_eq!(class, 1);
    let scaled = TensorData::from([
        [[0.0f32, 1.0, 2.0], [0.0, 1.0, 2.0]],
        [[0.0, 0.0, 0.0], [10.0, 10.0, 10.0]],
        [[255.0, 255.0, 255.0], [255.0, 255.0, 255.0]],
    ]);
    (picture * 255.0).into_data().assert_approx_eq::<f32>(&scaled, Tolerance::absolute(1e-4));
    assert!(images.get(4).is_err());
}

#[test]
fn every_kind_of_picture_becomes_three_channels_or_one() {
    let folder = Folder::new("images-kinds");
    let gray: DynamicImage = ImageBuffer::from_pixel(4, 4, Luma([51u8])).into();
    let clear: DynamicImage = ImageBuffer::from_pixel(4, 4, Rgba([51u8, 51, 51, 0])).into();
    let deep: DynamicImage = ImageBuffer::from_pixel(4, 4, Luma([51u16 * 257])).into();
    for (i, picture) in [gray.clone(), clear, deep].into_iter().enumerate() {
        folder.file(&format!("a/{i}.png"), encode(picture, ImageFormat::Png));
    }
    // The content says what it is, not the name.
    folder.file("a/3.png", encode(gray, ImageFormat::Jpeg));
    let images = ImageFolder::open(&folder.0).unwrap();
    for (images, channels) in [(images.clone(), 3), (images.gray(), 1)] {
        assert_eq!(images.len(), 4);
        for item in images.iter() {
            let picture = item.unwrap().0.into_data();
            assert_eq!(picture.dims(), [channels, 4, 4]);
            assert!(picture.iter::<f32>().all(|value| (value - 0.2).abs() < 0.01));
        }
    }
}

#[test]
fn pictures_of_one_size_become_batches() {
    let folder = Folder::new("images-batches");
    for (i, size) in [20, 30, 45].into_iter().enumerate() {
        let picture: DynamicImage =
            ImageBuffer::from_pixel(size, 17, Rgb([100u8, 150, 200])).into();
        folder.file(&format!("a/{i}.png"), encode(picture, ImageFormat::Png));
    }
    let images = ImageFolder::open(&folder.0).unwrap().resize(8, 12);
    let loader = DataLoaderBuilder::new(Stack).batch_size(3).num_workers(2).build(images);
    let (pictures, classes) = loader.epoch(0).next().unwrap().unwrap();
    assert_eq!((pictures.dims(), classes.dims()), ([3, 3, 8, 12], [3]));
    let green = pictures.slice(s![.., 1, .., ..]);
    assert!(green.into_data().iter::<f32>().all(|value| (value - 150.0 / 255.0).abs() < 1e-6));
}

#[test]
fn what_can_not_be_read_is_named() {
    let folder = Folder::new("images-errors");
    let error = |path: &str| ImageFolder::open(folder.path(path)).unwrap_err().to_string();
    assert!(error("none").contains("none: can not be read"));
    folder.file("empty/a.txt", "");
    assert!(error("empty").ends_with("there are no folders in it, one for each class"));
    folder.file("one/cat/a.txt", "");
    assert!(error("one").ends_with("cat: there are no PNG or JPEG files in it"));
    let png = encode(colours(), ImageFormat::Png);
    folder.file("bad/cat/0.png", &png);
    folder.file("bad/cat/1.png", &png[..png.len() / 2]);
    folder.file("bad/cat/2.png", "text");
    let images = ImageFolder::open(folder.path("bad")).unwrap();
    let mut epoch =
        DataLoaderBuilder::new(Stack).batch_size(3).skip_failures(2).build(images).epoch(0);
    assert_eq!(epoch.next().unwrap().unwrap().0.dims(), [1, 3, 2, 3]);
    let skipped: Vec<_> = epoch.skipped().iter().map(|error| error.to_string()).collect();
    assert!(skipped[0].contains("1.png: ") && skipped[0].ends_with("(item 1)"), "{skipped:?}");
    assert!(skipped[1].contains("2.png: ") && skipped[1].ends_with("(item 2)"), "{skipped:?}");
}

#[test]
fn a_small_file_that_claims_to_be_a_huge_picture_is_refused() {
    let folder = Folder::new("images-huge");
    let mut png = encode(ImageBuffer::from_pixel(8, 8, Luma([1u8])), ImageFormat::Png);
    // Width and height, and the checksum of the part that they are in (a fact of the PNG format).
    png[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]);
    let mut crc = flate2::Crc::new();
    crc.update(&png[12..29]);
    png[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    folder.file("a/0.png", png);
    let error = ImageFolder::open(&folder.0).unwrap().get(0).unwrap_err().to_string();
    assert!(error.contains("0.png: ") && error.to_lowercase().contains("limit"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_damage_of_a_picture_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        jpeg in any::<bool>(),
    ) {
        let folder = Folder::new("images-damage");
        let format = if jpeg { ImageFormat::Jpeg } else { ImageFormat::Png };
        let mut bytes = encode(colours(), format);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        folder.file("a/0.png", bytes);
        let _ = ImageFolder::open(&folder.0).unwrap().get(0);
    }
}
