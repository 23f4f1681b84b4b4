// Holds an attention in C++ to the test vectors: g++ -O2 -std=c++17 check.cpp -o check && ./check vectors/attention.safetensors
#include <cmath>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
using namespace std;
string file, header;
struct Array { long shape[4]; const char* data; bool wide; double operator[](long i) const { double d; float f; memcpy(&d, data + 8 * i, wide ? 8 : 0); memcpy(&f, data + 4 * i, 4); return wide ? d : f; } };
Array array_of(int n, string name) {
  size_t at = header.find("\"" + to_string(n) + "/" + name + "\":"), shape = header.find("shape", at), offsets = header.find("offsets", at); Array a;
  sscanf(&header[shape], "shape\":[%ld,%ld,%ld,%ld", a.shape, a.shape + 1, a.shape + 2, a.shape + 3);
  a.data = &file[8 + header.size() + stol(header.substr(offsets + 10))]; a.wide = header.substr(at, offsets - at).find("F64") != string::npos; return a;
}
bool flagged(int n, string flag) { size_t at = header.find("\\\"case\\\": " + to_string(n) + ","); return header.substr(at, header.find(']', at) - at).find(flag) != string::npos; }
int main(int, char** argv) {
  ifstream in(argv[1], ios::binary); file.assign(istreambuf_iterator<char>(in), {});
  long size; memcpy(&size, file.data(), 8); header = file.substr(8, size);
  for (int n = 0; header.find("\"" + to_string(n) + "/q\"") != string::npos; n++) {
    if (flagged(n, "bias") || flagged(n, "sinks") || flagged(n, "scale")) continue;  // not supported below
    Array q = array_of(n, "q"), k = array_of(n, "k"), v = array_of(n, "v"), want = array_of(n, "out"), allowed = array_of(n, "allowed/out");
    const char* visible = array_of(n, "visible").data; long heads = q.shape[1], rows = q.shape[2], d = q.shape[3], keys = k.shape[2], e = v.shape[3]; bool holds = true;
    for (long h = 0; h < heads; h++) for (long i = 0; i < rows; i++) {  // yours goes here
      long g = h / (heads / k.shape[1]), row = h * rows + i; double total = 0, out[256] = {};
      for (long j = 0; j < keys; j++) if (visible[row * keys + j]) { double s = 0; for (long c = 0; c < d; c++) s += q[row * d + c] * k[(g * keys + j) * d + c]; s = exp(s / sqrt(d)); total += s; for (long c = 0; c < e; c++) out[c] += s * v[(g * keys + j) * e + c]; }
      for (long c = 0; c < e; c++) holds &= abs((total ? out[c] / total : 0) - want[row * e + c]) <= allowed[row * e + c];
    }
    cout << n << (holds ? " holds\n" : " FAILS\n");
  }
}
