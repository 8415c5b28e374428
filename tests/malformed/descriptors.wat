;; A module of the SDK world that lists itself as the test wants it. LIST points at (address, length) of the
;; descriptors, TEXTS is the data at 1024.
(component
  (import "tradewind:task/types@1.0.0" (instance $types
    (type $descriptor' (record
      (field "name" string) (field "input-schema" string) (field "output-schema" string) (field "docs" string)))
    (export "descriptor" (type (eq $descriptor')))
    (type $advice' (variant (case "by-policy") (case "never") (case "after" u64)))
    (export "retry-advice" (type $advice (eq $advice')))
    (type $failure' (record
      (field "message" string) (field "data" (option string)) (field "retry" $advice)))
    (export "failure" (type $failure (eq $failure')))
    (type $interruption' (variant (case "failed" $failure) (case "skipped" string)))
    (export "interruption" (type (eq $interruption')))))
  (alias export $types "descriptor" (type $descriptor))
  (alias export $types "interruption" (type $interruption))
  (core module $m
    (memory (export "memory") 6)
    (global $top (mut i32) (i32.const 262144))
    (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
      (local $place i32)
      (local.set $place (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
      (global.set $top (i32.add (local.get $place) (local.get $size)))
      (local.get $place))
    (data (i32.const 1024) "TEXTS")
    (func (export "list-tasks") (result i32) (i32.const LIST))
    (func (export "run") (param $name i32) (param $name_length i32) (param $input i32) (param $length i32) (result i32)
      (i32.store8 (i32.const 400) (i32.const 0))
      (i32.store (i32.const 408) (local.get $input))
      (i32.store (i32.const 412) (local.get $length))
      (i32.const 400)))
  (core instance $i (instantiate $m))
  (func $list-tasks (result (list $descriptor))
    (canon lift (core func $i "list-tasks") (memory (core memory $i "memory")) (realloc (core func $i "cabi_realloc"))))
  (func $run (param "name" string) (param "input" string) (result (result string (error $interruption)))
    (canon lift (core func $i "run") (memory (core memory $i "memory")) (realloc (core func $i "cabi_realloc"))))
  (instance $tasks (export "list-tasks" (func $list-tasks)) (export "run" (func $run)))
  (export "tradewind:task/tasks@1.0.0" (instance $tasks)))
