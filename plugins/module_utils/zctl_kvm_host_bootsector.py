"""A machine's first 512 bytes that tell working hardware virtualization from a /dev/kvm that only looks like it.

They switch the CPU from real mode straight to long mode with paging, run a loop of twenty million steps, take an
interrupt and return from it, then end QEMU through its debug exit device with the value 33 (exit code 67). On real
hardware virtualization, and under emulation, that takes a fraction of a second. Where the hypervisor has to emulate
long mode one instruction at a time, or cannot return from an interrupt there, it never ends: the very thing that
makes stock kernels hang on such machines.

The bytes are the output of GNU as and ld (-Ttext 0x7c00 --oformat binary) for SOURCE; a test assembles it again.
"""

EXIT_PORT = 0xF4
EXIT_CODE = 33 << 1 | 1

SOURCE = """
    .intel_syntax noprefix
    .code16
    .globl _start
_start:
    cli
    xor   eax, eax
    mov   ds, ax
    mov   es, ax
    mov   ss, ax
    mov   sp, 0x7c00
    mov   edi, 0x1000
    mov   cr3, edi
    mov   ecx, 0x1000
    cld
    rep   stosd
    mov   word ptr [0x1000], 0x2003
    mov   word ptr [0x2000], 0x3003
    mov   word ptr [0x3000], 0x0083
    mov   word ptr [0x4030], offset handler
    mov   word ptr [0x4032], 8
    mov   word ptr [0x4034], 0x8e00
    mov   eax, 0x20
    mov   cr4, eax
    mov   ecx, 0xc0000080
    rdmsr
    or    ah, 1
    wrmsr
    mov   eax, cr0
    or    eax, 0x80000001
    mov   cr0, eax
    lgdt  [gdtr]
    ljmp  8, offset long
    .code64
long:
    xor   eax, eax
    mov   ss, eax
    mov   rsp, 0x7c00
    lidt  [idtr]
    xor   ebx, ebx
    mov   ecx, 20000000
    mov   edi, 0x5000
1:  add   [rdi], rcx
    dec   ecx
    jnz   1b
    int3
    mov   eax, ebx
    out   0xf4, al
2:  hlt
    jmp   2b
handler:
    mov   bl, 33
    iretq
    .balign 8
gdt:
    .quad 0
    .quad 0x00209a0000000000
gdtr:
    .word 15
    .long gdt
idtr:
    .word 0xfff
    .quad 0x4000
    .org 510
    .word 0xaa55
"""

_CODE = (
    "fa6631c08ed88ec08ed0bc007c66bf001000000f22df66b900100000fc66f3abc70600100320c70600200330c7060030"
    "8300c70630409e7cc70632400800c7063440008e66b8200000000f22e066b9800000c00f3280cc010f300f20c0660d01"
    "0000800f22c00f0116b87cea707c080031c08ed048c7c4007c00000f011c25be7c000031dbb9002d3101bf0050000048"
    "010fffc975f9cc89d8e6f4f4ebfdb32148cf660f1f440000000000000000000000000000009a20000f00a87c0000ff0f"
    "0040"
)


def image() -> bytes:
    """The boot sector: the code, zeroes up to the signature that makes firmware start it."""
    return bytes.fromhex(_CODE).ljust(510, b"\0") + b"\x55\xaa"
