// Holds an attention in Rust to the test vectors: rustc --edition 2021 -O check.rs && ./check vectors/attention.safetensors
fn main() {
    let file = std::fs::read(std::env::args().nth(1).unwrap()).unwrap();
    let size = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&file[8..8 + size]).unwrap();
    let list = |text: &str| -> Vec<usize> { text[text.find('[').unwrap() + 1..text.find(']').unwrap()].split(',').map(|x| x.trim().parse().unwrap()).collect() };
    let array = |n: usize, name: &str| -> (Vec<usize>, Vec<f64>) {
        let entry = &header[header.find(&format!("\"{n}/{name}\":")).unwrap()..];
        let (shape, at) = (list(&entry[entry.find("shape").unwrap()..]), list(&entry[entry.find("data_offsets").unwrap()..]));
        let bytes = &file[8 + size + at[0]..8 + size + at[1]];
        let wide = |w: usize| bytes.chunks(w).map(move |b| match w { 8 => f64::from_le_bytes(b.try_into().unwrap()), 4 => f32::from_le_bytes(b.try_into().unwrap()) as f64, _ => b[0] as f64 }).collect();
        (shape.clone(), wide(bytes.len() / shape.iter().product::<usize>()))
    };
    let flagged = |n: usize, flag: &str| { let text = &header[header.find(&format!("\\\"case\\\": {n},")).unwrap()..]; text[..text.find(']').unwrap()].contains(flag) };
    for n in (0..).take_while(|n| header.contains(&format!("\"{n}/q\""))) {
        if ["bias", "sinks", "scale"].iter().any(|flag| flagged(n, flag)) { continue; } // not supported below
        let ((qs, q), (ks, k), (vs, v), (_, seen), (_, want), (_, allowed)) = (array(n, "q"), array(n, "k"), array(n, "v"), array(n, "visible"), array(n, "out"), array(n, "allowed/out"));
        let (rows, d, keys, e, mut holds) = (qs[2], qs[3], ks[2], vs[3], true);
        for row in 0..qs[1] * rows { // yours goes here
            let g = row / rows / (qs[1] / ks[1]);
            let w: Vec<f64> = (0..keys).map(|j| seen[row * keys + j] * ((0..d).map(|c| q[row * d + c] * k[(g * keys + j) * d + c]).sum::<f64>() / (d as f64).sqrt()).exp()).collect();
            let total = w.iter().sum::<f64>().max(1e-300);
            for c in 0..e { holds &= ((0..keys).map(|j| w[j] * v[(g * keys + j) * e + c]).sum::<f64>() / total - want[row * e + c]).abs() <= allowed[row * e + c]; }
        }
        println!("{n} {}", if holds { "holds" } else { "FAILS" });
    }
}
