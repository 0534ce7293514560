"""Small files of other programs as texts, which several tests read."""

CRYSTFEL = """CrystFEL reflection list version 2.0
Symmetry: {}
   h    k    l          I    phase   sigma(I)   nmeas
   1    2    3     121.00        -       1.00      10
   2    0    0      -4.00        -       1.00       3
End of reflections
"""
"""Takes a point group."""
XDS = """!FORMAT=XDS_ASCII    MERGE=TRUE    FRIEDEL'S_LAW=TRUE
!SPACE_GROUP_NUMBER=   19
!UNIT_CELL_CONSTANTS=    40.000    50.000    60.000  90.000  90.000  90.000
!NUMBER_OF_ITEMS_IN_EACH_DATA_RECORD=5
!ITEM_H=1
!ITEM_K=2
!ITEM_L=3
!ITEM_IOBS=4
!ITEM_SIGMA(IOBS)=5
!END_OF_HEADER
     1     2     3  1.210E+02  1.0E+00
     2     0     0 -4.000E+00  1.0E+00
!END_OF_DATA
"""
SALT = """data_salt
_cell_length_a 5.0
_cell_length_b 5.0
_cell_length_c 5.0
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_space_group_name_H-M_alt 'P m -3 m'
loop_
 _atom_site_label
 _atom_site_type_symbol
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
 _atom_site_U_iso_or_equiv
 Cs1 Cs 0 0 0 1 0.02
 Cl1 Cl 0.5 0.5 0.5 1 0.03
"""
GEOM = """; two panels, one of them turned by 90 degrees
photon_energy = 9500 eV
adu_per_photon = 1 ; not used
clen = 80 mm
res = 5000
rigid_group_q0 = a,b
max_adu = 7000

a/min_fs = 0
a/max_fs = 11
a/min_ss = 0
a/max_ss = 9
a/fs = +1.000000x +0.000010y
a/ss = -0.000010x + y
a/corner_x = -14.5
a/corner_y = -5
b/min_fs = 0
b/max_fs = 11
b/min_ss = 10
b/max_ss = 19
b/coffset = 0.001
b/fs = y
b/ss = -1.0x
b/corner_x = 16
b/corner_y = -3.5
badregion/min_x = 0
badregion/max_x = 2
"""
