"""Scripts that run the real engines; `deploy.engines.running` calls them. In: one JSON object on stdin (`model`, a
path; `settings` as `export` writes them; `prompts` as lists of token ids; `draws`; `seed`). Out: one JSON object as the
last line of stdout: `version` and `texts` (of each prompt `draws` lists of new token ids), or `error` in one line and
exit code 1.

A script needs the standard library, numpy and its engine, and nothing of decodebench: it is run by whatever interpreter
has the engine. It is called as the engine is in the tables: `ctranslate2`, `llama_cpp`, `mlx_lm`,
`onnxruntime_genai`, `openvino_genai`, `vllm`.
"""
