//! Equality with the reference implementation, and what hostile headers come to.

use safetensors::tensor::TensorView;
use safetensors::{Dtype as Theirs, SafeTensors};

use super::*;

fn tensor(name: &str, dtype: Dtype, shape: &[usize]) -> TensorMeta {
    TensorMeta {
        name: name.to_owned(),
        dtype,
        shape: shape.to_vec(),
    }
}

/// Three types and an empty tensor, in canonical order.
fn mixed() -> Vec<TensorMeta> {
    vec![
        tensor("labels", Dtype::I64, &[3]),
        tensor("a", Dtype::F32, &[2, 3]),
        tensor("b.empty", Dtype::F32, &[0, 5]),
        tensor("größe \"x\"", Dtype::F32, &[]),
        tensor("pixels", Dtype::U8, &[5]),
    ]
}

fn with_header(json: &str) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes
}

fn theirs(dtype: Dtype) -> Theirs {
    match dtype {
        Dtype::I64 => Theirs::I64,
        Dtype::F32 => Theirs::F32,
        Dtype::U8 => Theirs::U8,
    }
}

#[test]
fn header_and_data_are_what_the_safetensors_crate_writes() {
    for metadata in [
        BTreeMap::new(),
        BTreeMap::from([("format".to_owned(), "pt".to_owned())]),
    ] {
        let tensors = mixed();
        let len = data_len(&tensors).unwrap();
        let data: Vec<u8> = (0..len).map(|byte| u8::try_from(byte).unwrap()).collect();

        let mut rest = &data[..];
        let views: Vec<_> = tensors
            .iter()
            .map(|tensor| {
                let len = usize::try_from(tensor.data_len().unwrap()).unwrap();
                let own = rest.split_off(..len).unwrap();
                let view = TensorView::new(theirs(tensor.dtype), tensor.shape.clone(), own);
                (tensor.name.clone(), view.unwrap())
            })
            .collect();
        let info = (!metadata.is_empty()).then(|| metadata.clone().into_iter().collect());
        // Reversed, for their order must not depend on ours.
        let expected = safetensors::serialize(views.into_iter().rev(), info).unwrap();

        let mut file = header(&tensors, &metadata).unwrap();
        file.extend_from_slice(&data);
        assert_eq!(file, expected);
        assert_eq!(SafeTensors::deserialize(&file).unwrap().len(), 5);
    }
}

#[test]
fn a_header_reads_back_what_it_wrote() {
    let bytes = header(&mixed(), &BTreeMap::from([("a".into(), "b".into())])).unwrap();
    let (tensors, data_offset) = read_header(&bytes).unwrap();
    assert_eq!(tensors, mixed());
    assert_eq!(data_offset, bytes.len() as u64);
}

#[test]
fn no_tensors_are_a_file_too() {
    let bytes = header(&[], &BTreeMap::new()).unwrap();
    assert_eq!(read_header(&bytes), Ok((vec![], 16)));
    assert!(SafeTensors::deserialize(&bytes).unwrap().is_empty());
}

#[test]
fn a_name_is_taken_once() {
    let twice = [tensor("a", Dtype::F32, &[1]), tensor("a", Dtype::U8, &[1])];
    assert!(header(&twice, &BTreeMap::new()).is_err());
    let reserved = [tensor("__metadata__", Dtype::F32, &[1])];
    assert_eq!(
        header(&reserved, &BTreeMap::new()),
        Err(TensorError::ReservedName)
    );
}

#[test]
fn a_prefix_that_is_too_short_says_what_is_needed() {
    let bytes = header(&mixed(), &BTreeMap::new()).unwrap();
    let needed = bytes.len() as u64;
    for given in 0..bytes.len() {
        let expected = if given < 8 { 8 } else { needed };
        assert_eq!(
            read_header(&bytes[..given]),
            Err(TensorError::Incomplete {
                needed: expected,
                given: given as u64,
            })
        );
    }
}

#[test]
fn a_header_of_hostile_length_is_refused_before_it_is_read() {
    let len = u64::MAX;
    assert_eq!(
        read_header(&len.to_le_bytes()),
        Err(TensorError::HeaderTooLarge { len })
    );
}

#[test]
fn shapes_beyond_counting_are_refused() {
    let huge = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#;
    assert_eq!(
        read_header(&with_header(huge)),
        Err(TensorError::TooLarge { name: "a".into() })
    );
    let sum = [
        tensor("a", Dtype::U8, &[usize::MAX]),
        tensor("b", Dtype::U8, &[usize::MAX]),
    ];
    assert!(matches!(data_len(&sum), Err(TensorError::TooLarge { .. })));
}

#[test]
fn gaps_overlaps_and_false_lengths_are_refused() {
    for offsets in ["[4,8]", "[0,8]", "[8,4]", "[0,0]"] {
        let json = format!(r#"{{"a":{{"dtype":"F32","shape":[1],"data_offsets":{offsets}}}}}"#);
        assert!(
            matches!(
                read_header(&with_header(&json)),
                Err(TensorError::Misplaced { .. })
            ),
            "{offsets}"
        );
    }
}

#[test]
fn what_is_no_header_is_malformed() {
    for json in [
        "",
        "[]",
        "{",
        r#"{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}"#,
        r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
        r#"{"a":{"dtype":"F32","data_offsets":[0,4]}}"#,
        r#"{"__metadata__":7}"#,
    ] {
        assert!(
            matches!(
                read_header(&with_header(json)),
                Err(TensorError::Malformed { .. })
            ),
            "{json}"
        );
    }
}
