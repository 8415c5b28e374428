;; Writes one line to its log and answers with nothing.
(component
  (import "tradewind:task/log@1.0.0" (instance $log
    (type $level' (enum "trace" "debug" "info" "warn" "error"))
    (export "level" (type $level (eq $level')))
    (export "write" (func (param "level" $level) (param "message" string)))))
  (core module $memory
    (memory (export "memory") 1)
    (data (i32.const 64) "one line")
    (global $top (mut i32) (i32.const 1024))
    (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
      (local $place i32)
      (local.set $place (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
      (global.set $top (i32.add (local.get $place) (local.get $size)))
      (if (i32.gt_u (global.get $top) (i32.const 65536)) (then unreachable))
      (local.get $place)))
  (core instance $memory (instantiate $memory))
  (alias export $log "write" (func $write))
  (core func $write (canon lower (func $write) (memory (core memory $memory "memory"))))
  (core module $m
    (import "memory" "memory" (memory 1))
    (import "log" "write" (func $write (param i32 i32 i32)))
    (func (export "run") (param $input i32) (param $length i32) (result i32)
      (call $write (i32.const 2) (i32.const 64) (i32.const 8))
      (i32.store8 (i32.const 16) (i32.const 0))
      (i32.store (i32.const 20) (i32.const 0))
      (i32.store (i32.const 24) (i32.const 0))
      (i32.const 16)))
  (core instance $i (instantiate $m
    (with "memory" (instance $memory))
    (with "log" (instance (export "write" (func $write))))))
  (func (export "run") (param "input" (list u8)) (result (result (list u8) (error string)))
    (canon lift (core func $i "run") (memory (core memory $memory "memory")) (realloc (core func $memory "cabi_realloc")))))
