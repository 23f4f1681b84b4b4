// Attention as a program: rustc --edition 2021 -O kernel.rs -o kernel && tinyattn check --command './kernel {in} {out}'
use std::{env, fs, process};
fn main() {
    let names: Vec<String> = env::args().collect();
    let raw = fs::read(&names[1]).unwrap();
    let start = 8 + u64::from_le_bytes(raw[..8].try_into().unwrap()) as usize;
    let head = std::str::from_utf8(&raw[8..start]).unwrap();
    let options = ["mask", "bias", "sinks", "causal", "window", "scale", "softcap"];
    if options.iter().any(|o| head.contains(&format!("\"{o}\""))) { process::exit(64) } // not supported
    let numbers = |key: &str, field: &str| -> Vec<usize> {
        let from = &head[head.find(&format!("\"{key}\"")).unwrap()..];
        let list = &from[from.find(&format!("\"{field}\"")).unwrap()..];
        list[list.find('[').unwrap() + 1..list.find(']').unwrap()].split(',').map(|n| n.trim().parse().unwrap()).collect()
    };
    let read = |key: &str| -> (Vec<usize>, Vec<f32>) { let o = numbers(key, "data_offsets");
        (numbers(key, "shape"), raw[start + o[0]..start + o[1]].chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()) };
    let ((s, q), (t, k), (u, v)) = (read("q"), read("k"), read("v"));
    let (mut out, d, e) = (vec![0f32; s[0] * s[1] * s[2] * u[3]], s[3], u[3]);
    for r in 0..s[0] * s[1] * s[2] { // yours goes here: a row of q, its kv head g, all keys j
        let g = r / s[2] / s[1] * t[1] + r / s[2] % s[1] / (s[1] / t[1]);
        let scores: Vec<f32> = (0..t[2]).map(|j| (0..d).map(|c| q[r * d + c] * k[(g * t[2] + j) * d + c]).sum::<f32>() / (d as f32).sqrt()).collect();
        let top = scores.iter().cloned().fold(f32::MIN, f32::max);
        let w: Vec<f32> = scores.iter().map(|x| (x - top).exp()).collect();
        for c in 0..e { out[r * e + c] = (0..t[2]).map(|j| w[j] * v[(g * t[2] + j) * e + c]).sum::<f32>() / w.iter().sum::<f32>(); }
    }
    let head = format!("{{\"out\":{{\"dtype\":\"F32\",\"shape\":[{},{},{},{e}],\"data_offsets\":[0,{}]}}}}", s[0], s[1], s[2], 4 * out.len());
    let numbers = out.iter().flat_map(|x| x.to_le_bytes());
    fs::write(&names[2], (head.len() as u64).to_le_bytes().into_iter().chain(head.bytes()).chain(numbers).collect::<Vec<u8>>()).unwrap();
}
