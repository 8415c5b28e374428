;; fibonacci: func(n: u32) -> u64, by itself twice, as benchmarks of the field do it.
(component
  (core module $code
    (func $fibonacci (export "fibonacci") (param $n i32) (result i64)
      (if (i32.lt_u (local.get $n) (i32.const 2)) (then (return (i64.extend_i32_u (local.get $n)))))
      (i64.add
        (call $fibonacci (i32.sub (local.get $n) (i32.const 1)))
        (call $fibonacci (i32.sub (local.get $n) (i32.const 2))))))
  (core instance $instance (instantiate $code))
  (func (export "fibonacci") (param "n" u32) (result u64)
    (canon lift (core func $instance "fibonacci"))))
