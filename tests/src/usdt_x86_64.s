# Notes as SystemTap's sys/sdt.h writes them, for a program that no C compiler has seen.

.macro NOTE place, semaphore, name, arguments
    .pushsection .note.stapsdt, "", "note"
    .balign 4
    .4byte 992f - 991f, 994f - 993f, 3
991: .asciz "stapsdt"
992: .balign 4
993: .8byte \place
    .8byte _.stapsdt.base
    .8byte \semaphore
    .asciz "tapline"
    .asciz "\name"
    .asciz "\arguments"
994: .balign 4
    .popsection
.endm

    .pushsection .stapsdt.base, "a", "progbits"
    .weak _.stapsdt.base
    .hidden _.stapsdt.base
_.stapsdt.base:
    .space 1
    .popsection

    .pushsection .probes, "aw", "progbits"
    .balign 2
workload_tock_semaphore:
    .2byte 0
    .popsection

    .pushsection .data.workload_numbers, "aw", "progbits"
    .balign 8
workload_numbers:
    .4byte 11, 22, 33
    .popsection

    .pushsection .text.workload_tick, "ax", "progbits"
    .globl workload_tick
    .type workload_tick, @function
workload_tick:
    movzwl workload_tock_semaphore(%rip), %eax
    leaq _.stapsdt.base(%rip), %r11
    leaq workload_numbers(%rip), %r11
    movl $2, %ecx
    movl $0x1234, %r8d
.Lworkload_tick_place:
    nop
.Lworkload_tock_place:
    nop
    ret
    .size workload_tick, . - workload_tick
    .popsection

    .pushsection .text.workload_forms, "ax", "progbits"
    .globl workload_forms
    .type workload_forms, @function
workload_forms:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r15
    movabsq $0x1122334455667788, %rbx
    movabsq $0x71f2f3f4f5f6f7f8, %r9
    movq $-2, %r10
    movl $3, %r15d
    movq %rdi, %r12
    leaq 32(%rdi), %rbp
    pushq $77
.Lworkload_forms_place:
    nop
    addq $8, %rsp
    popq %r15
    popq %r12
    popq %rbp
    popq %rbx
    ret
    .size workload_forms, . - workload_forms
    .popsection

NOTE .Lworkload_tick_place, 0, tick, "-4@%edi 8@%rsi 8@8(%rdx) 8@(%rdx,%rcx,8) -4@$-7 1@%r8b 2@%r8w 4@%edi 8f@%xmm0 8@somewhere(%rip) 4@workload_numbers(%rip) 4@workload_numbers+8(%rip)"
NOTE .Lworkload_tock_place, workload_tock_semaphore, tock, "2@%ax"
NOTE .Lworkload_forms_place, 0, forms, "8@%rbx 4@%ebx 2@%bx 1@%bl 1@%bh -1@%bl -2@%r9w -4@%r9d -8@%r10 4@%r10d -4@%r10d 1@%r15b 8@-8(%rbp) -4@-32(%rbp) 8@(%r12,%r15,8) 8@-8(%r12,%r15,8) 8@-16+8(%rbp) 8@(%rsp) 4@$0x10 -8@$-9 1@$200 8f@%xmm1 2@-32(%rbp) -1@(%r12)"
